"""`axiomd config check`, `show`, `presets`: the settings."""

from __future__ import annotations

import json

import typer

from axiomd.cli.options import CONFIG_DEFAULT, Config, Json, print_json, print_table
from axiomd.interventions import registry
from axiomd.policies.presets import PRESETS, apply_preset
from axiomd.science.catalogue import deployed, read_catalogue
from axiomd.settings import load, rows


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    config = typer.Typer(help="Check and show the settings.", no_args_is_help=True)
    config.command()(check)
    config.command()(show)
    config.command()(presets)
    app.add_typer(config, name="config")


def check(config: Config = CONFIG_DEFAULT) -> None:
    """Read the settings file and say whether it is right; names the line that isn't."""
    settings = load(config)
    apply_preset(settings.credit)
    registry.check(settings)
    catalogue = read_catalogue(settings.daemon.catalogue)
    for name, experiment in settings.experiments.items():
        deployed(name, experiment, catalogue)
    print(f"{config}: good")


def show(config: Config = CONFIG_DEFAULT, as_json: Json = False) -> None:
    """Show every setting with its value and meaning; passwords are hidden."""
    found = rows(load(config))
    if as_json:
        print_json({name: value for name, value, _ in found})
    else:
        print_table(str(config), ("setting", "value", "meaning"), found)


def presets(as_json: Json = False) -> None:
    """Show the credit rules that ship with axiomd."""
    if as_json:
        print_json(PRESETS)
    else:
        print_table("credit presets", ("preset", "rule"), [(name, json.dumps(rule)) for name, rule in PRESETS.items()])
