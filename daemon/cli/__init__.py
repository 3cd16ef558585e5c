"""The command line: arguments and exit codes. What a command does is imported when it runs, so that help is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from daemon.cli.evaluation import backtest, search
from daemon.cli.failures import EXIT_READER_GONE, flush_output, reader_is_gone, report
from daemon.cli.options import ConfigFile, Json
from daemon.cli.training import train
from daemon.early_signals import hold_reloads

app = typer.Typer(
    name="forecastd",
    help="Streaming real-time forecasts of crypto markets: proven bars, honest quantiles, published over MQTT.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
history = typer.Typer(help="Bars of the past in the store.", no_args_is_help=True, rich_markup_mode=None)
config = typer.Typer(help="The configuration file.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(history, name="history")
app.add_typer(config, name="config")


def main() -> NoReturn:
    """The entry point: every error becomes one line and its exit code, see ``failures``."""
    hold_reloads()
    try:
        try:
            app(prog_name="forecastd")
        finally:
            flush_output()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError) and reader_is_gone():  # click ends with 1 there
            sys.exit(EXIT_READER_GONE)
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # the last place; a panic of Polars is no Exception
        sys.exit(report(error))
    sys.exit(0)


def _version(wanted: bool) -> None:
    if wanted:
        from daemon import __version__

        typer.echo(f"forecastd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Streaming real-time forecasts of crypto markets."""


@app.command()
def demo(
    speed: Annotated[
        float,
        typer.Option(
            help="Market seconds per second; 360 makes an hour last ten seconds. "
            "Above about 1200 a forecast may be past its validity before it is sent, and is then left out."
        ),
    ] = 360.0,
    hours: Annotated[int | None, typer.Option(help="End after this many bars.", min=1)] = None,
    headless: Annotated[bool, typer.Option(help="One line a forecast instead of the live view.")] = False,
    json: Json = False,
    state_dir: Annotated[
        Path | None, typer.Option(help="Keep the demo's state here instead of in a temporary folder.")
    ] = None,
    http_port: Annotated[
        int | None, typer.Option(help="Port of the page and metrics; default 9464, or a free one.")
    ] = None,
    mqtt_port: Annotated[int | None, typer.Option(help="Port of the broker; default 1883, or a free one.")] = None,
) -> None:
    """The whole system on this machine: simulated exchange, broker, training, live forecasts."""
    from daemon.cli.commands.demo import DemoOptions, run_demo

    run_demo(
        DemoOptions(
            speed=speed,
            hours=hours,
            headless=headless or json or not sys.stdout.isatty(),
            json=json,
            state_dir=state_dir,
            http_port=http_port,
            mqtt_port=mqtt_port,
        )
    )


@app.command()
def run(config_file: ConfigFile = None) -> None:
    """The daemon. Without a file: Binance BTC-USDT and ETH-USDT, embedded broker, page on loopback."""
    from daemon.cli.commands.run import run_daemon

    run_daemon(config_file)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="Parquet or CSV of trades, or a raw capture (.jsonl); also gzipped.")],
    venue: Annotated[str, typer.Option(help="The venue whose trades or frames these are.")] = "binance",
    interval: Annotated[str, typer.Option(help="Length of a bar.")] = "1h",
    bars: Annotated[Path | None, typer.Option(help="Write the bars here (Parquet).")] = None,
    forecasts: Annotated[Path | None, typer.Option(help="Write the forecasts here, one JSON line each.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this one; needed where a table names none.")] = None,
    json: Json = False,
) -> None:
    """Recorded trades through the same pipeline, without network, as fast as it goes."""
    from daemon.cli.commands.replay import run_replay

    run_replay(
        file, venue_name=venue, interval=interval, bars_file=bars, forecasts_file=forecasts, symbol=symbol, json=json
    )


@app.command()
def retrain(
    now: Annotated[bool, typer.Option("--now", help="Retrain now.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run to its end.")] = True,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the running one.")] = False,
    json: Json = False,
    config_file: ConfigFile = None,
) -> None:
    """Asks the running daemon to retrain; without a daemon, trains in the foreground from the store."""
    from daemon.cli.commands.retrain import run_retrain

    if now == cancel:
        raise typer.BadParameter("say --now or --cancel")
    run_retrain(config_file, wait=wait, cancel=cancel, json=json)


app.command()(train)
app.command()(backtest)
app.command()(search)


@app.command()
def status(json: Json = False, config_file: ConfigFile = None) -> None:
    """What the daemon is doing now."""
    from daemon.cli.commands.status import show_status

    show_status(config_file, json=json)


@app.command()
def explain(
    forecast: Annotated[str, typer.Argument(metavar="[ID|latest]", help="Whose id is in the message.")] = "latest",
    symbol: Annotated[str | None, typer.Option(help="The newest of this one: BASE-QUOTE or venue:BASE-QUOTE.")] = None,
    last: Annotated[int, typer.Option(help="Forecasts in the heat map.", min=1, max=1000)] = 24,
    plot: Annotated[Path | None, typer.Option(help="Draw it into this PNG (needs matplotlib).")] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="The folder of the store; default: the running daemon's, else the configured.")
    ] = None,
    json: Json = False,
    config_file: ConfigFile = None,
) -> None:
    """Which of the window's hours and which features a forecast looked at."""
    from daemon.cli.commands.explain import ExplainOptions, run_explain

    options = ExplainOptions(forecast=forecast, symbol=symbol, last=last, plot=plot, state_dir=state_dir)
    run_explain(config_file, options, json=json)


@app.command()
def simulate(
    venue: Annotated[str, typer.Option(help="Whose protocol to speak, e.g. kraken.")] = "binance",
    data: Annotated[Path | None, typer.Option(help="Bars to replay; default: the shipped sample.")] = None,
    speed: Annotated[float | None, typer.Option(help="Market seconds per second, at the recorded times.")] = None,
    interval: Annotated[str | None, typer.Option(help="On the system clock: play each bar this long, e.g. 5s.")] = None,
    port: Annotated[int, typer.Option(help="Websocket port, REST on the next; 0: any two free ones.")] = 0,
    live_days: Annotated[float, typer.Option(help="How much of the data is played live.")] = 30.0,
    faults: Annotated[Path | None, typer.Option(help="TOML file with the faults to inject.")] = None,
) -> None:
    """The exchange simulator alone; prints its addresses as one JSON line."""
    from daemon.cli.commands.simulate import run_simulator

    run_simulator(venue=venue, data=data, speed=speed, interval=interval, port=port, live_days=live_days, faults=faults)


@history.command("import")
def history_import(
    files: Annotated[list[Path], typer.Argument(help="Parquet or CSV klines.")],
    symbol: Annotated[str | None, typer.Option(help="BASE-QUOTE, where the file does not say, or not clearly.")] = None,
    venue: Annotated[str, typer.Option(help="Whose klines these are.")] = "binance",
    config_file: ConfigFile = None,
) -> None:
    """Reads klines into the store."""
    from daemon.cli.commands.history import import_files

    import_files(config_file, files, venue_name=venue, symbol=symbol)


@history.command("fetch")
def history_fetch(
    start: Annotated[str, typer.Option("--from", help="First day, e.g. 2023-01-01.")], config_file: ConfigFile = None
) -> None:
    """Fetches bars of the configured symbols from the venue's REST."""
    from daemon.cli.commands.history import fetch

    fetch(config_file, start)


@history.command("show")
def history_show(json: Json = False, config_file: ConfigFile = None) -> None:
    """Which bars the store holds, and how well they are known."""
    from daemon.cli.commands.history import show

    show(config_file, json=json)


@config.command("check")
def config_check(config_file: ConfigFile = None) -> None:
    """Says everything that is wrong at once; exit code 78 if anything is."""
    from daemon.config import Secrets, load_config

    checked = load_config(config_file, secrets=Secrets.UNCHECKED_CREDENTIALS)
    typer.echo("the configuration is good")
    for key in checked.unchecked_credentials:
        typer.echo(f"{key}: not checked, as ${{CREDENTIALS_DIRECTORY}} is only there under systemd")


@config.command("show")
def config_show(
    origin: Annotated[bool, typer.Option("--origin", help="Where each value came from.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Every value in force."""
    from daemon.config import Secrets, load_config
    from daemon.config.render import show

    typer.echo(show(load_config(config_file, secrets=Secrets.UNCHECKED), origin=origin), nl=False)


@config.command("schema")
def config_schema() -> None:
    """The configuration file as JSON Schema."""
    import json

    from daemon.config.render import config_schema as schema

    typer.echo(json.dumps(schema(), indent=2))
