"""The RSNA Screening Mammography Breast Cancer Detection competition: train.csv beside train_images/."""

from mammogan.data.sources.files import Files
from mammogan.data.sources.listed import own_names, read_listed
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Collection

COLUMNS = ("patient_id", "image_id", "laterality", "view", "cancer")
_NEEDED = COLUMNS[:3]
_FOLDER = "train_images"
_PLACES = [f"{_FOLDER}/{{patient_id}}/{{image_id}}{suffix}" for suffix in (".dcm", ".png", ".jpg", ".jpeg")]


def _recognise(files: Files) -> str | None:
    if not files.has_folder(_FOLDER) or not set(_NEEDED) <= files.columns(files.at_root("train.csv")):
        return None
    return "train.csv with the columns of the RSNA competition beside train_images/"


def _read(files: Files) -> Collection:
    table = files.needed_table(files.at_root("train.csv"), "train.csv")
    table.need(*_NEEDED)
    images = [image for image in files.images if image.startswith(f"{_FOLDER}/")]  # test_images/ has no labels
    names = {name: column for name, column in own_names(table).items() if name != "file"}
    return read_listed(files, table, names, _PLACES, images=images)


READER = Reader("train.csv and train_images/{patient_id}/{image_id}.dcm or .png", _recognise, _read)
