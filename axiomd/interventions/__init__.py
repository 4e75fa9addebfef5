"""What a person, a program or an alert may ask axiomd to do."""
