"""The demo: a private MariaDB, a stand-in for BOINC's own programs, and volunteers that compute.

It stands beside the house: nothing of axiomd imports it, and it imports nothing of axiomd. It starts `axiomd run`
as a process of its own, as an operator would, and gives it a small BOINC project to look after.

    mariadb.py, children.py        the database server, and the other processes
    schema.py, boinc_tables.json   BOINC's tables
    states.py, config.py, rows.py,
    backend_lib.py,
    host_app_version.py            what BOINC's programs share
    transitioner.py, validator.py,
    scheduler.py, create_work.py   one file for each of BOINC's programs
    daemons.py                     two of them as processes that go on and on
    start.py                       the project's bin/start, bin/stop and bin/status, which see to them
    boinc.py                       the demo's own hand on these
    project.py, fleet.py           the demo's project, and its hosts on paper
    volunteers.py, workshop.py     what the hosts do, and where their jobs are computed
    faults.py                      what goes wrong on purpose
    operations.py                  the settings file, and the commands that an operator of axiomd gives
    run.py, show.py, __main__.py   one run, what a person sees of it, and the command `python -m axiomd.demo`
"""
