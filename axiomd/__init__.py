"""axiomd: runs a BOINC project's daily work as a service. docs/architecture.md draws the house."""
