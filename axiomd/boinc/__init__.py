"""What BOINC is: states, config.xml, programs, and all SQL that touches a BOINC table. docs/boinc.md has the facts."""
