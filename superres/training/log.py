"""What a training tells of its epochs: scores, weights, table, plot and picture."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np

from superres.images.drawing import side_by_side
from superres.images.pixels import to_network
from superres.images.resize import upscale_bicubic, upscale_nearest
from superres.images.write import write_picture
from superres.runtime.backend import keras
from superres.runtime.files import replacing
from superres.scoring import metrics
from superres.upscaling import weight_files
from superres.upscaling.upscaler import Upscaler

HALO_PICTURES = 6  # validation pictures on which the halo of new weights is measured
EPOCH = {"loss": 0.0, "seconds": 0.0, "waited": 0.0}  # sums over the steps of an epoch
SHOWN_SIZE, SHOWN_ZOOM = 96, 3  # side of the crop in the picture of the progress; enlargement


def validation_psnr(photographs, pictures, scale):
    """Mean PSNR on Y of enlarged pictures against the `hr` of photographs, in dB."""
    pairs = zip(photographs, pictures, strict=True)
    return float(np.mean([metrics.psnr(p.hr, picture, scale) for p, picture in pairs]))


def digest(photographs, with_lr=False):
    """Text that tells whether validation pictures are the same as before.

    Args:
        photographs: list of `Photograph`.
        with_lr: whether their LR pictures count too; where those follow from the HR pictures they
            need not.
    """
    found = hashlib.sha256()
    for photograph in photographs:
        found.update(repr(photograph.hr.shape).encode())
        found.update(photograph.hr)
        if with_lr:
            found.update(np.ascontiguousarray(photograph.lr))
    return found.hexdigest()


def place_to_show(photographs, bicubic, scale):
    """Where bicubic enlargement fails most: what a network learns can be seen there.

    Args:
        photographs: list of `Photograph`.
        bicubic: their enlarged LR pictures.

    Returns:
        Number of the photograph, and the rows and the columns of its LR picture as slices.
    """
    side = SHOWN_SIZE // scale
    places = []
    for number, (photograph, picture) in enumerate(zip(photographs, bicubic, strict=True)):
        error = (photograph.hr.astype(np.float32) - picture) ** 2
        height, width = photograph.lr.shape[:2]
        rows, columns = min(side, height), min(side, width)
        for top in range(0, height - rows + 1, rows):
            for left in range(0, width - columns + 1, columns):
                place = slice(top, top + rows), slice(left, left + columns)
                inside = error[*(slice(scale * part.start, scale * part.stop) for part in place)]
                places.append((float(inside.mean()), number, place))
    _, number, place = max(places, key=lambda found: found[0])
    return number, place


class TrainingLog:
    """Scores of the epochs, and the files that tell of them.

    Args:
        path: of the weights; the other files lie beside them.
        settings: dict of all settings of the training.
        network: `KerasNetwork` in float32, to which averaged weights are copied.
        validation: list of `Photograph`.
        rows: one dict for each epoch that is done; grows.
        epoch: dict of sums over the steps that are done of the next one, see `EPOCH`.
        shown: dict of epoch -> uint8 prediction of the part of a validation picture that is
            shown: of the last epoch, and of those that are powers of two.
        about: dict of what else the settings' file tells.

    Attributes:
        best_weights: of the best epoch, where they are not on disk yet; else `None`.
    """

    def __init__(
        self, path, settings, network, validation, *, rows=(), epoch=None, shown=None, about=None
    ):
        self.path = Path(path)
        self.settings = settings
        self.scale = settings["scale"]
        self.network = network.model
        self.upscaler = Upscaler(
            network, precision="float32", tile_size=settings["validation_crop"]
        )
        self.validation = validation
        self.rows = list(rows)
        self.epoch = dict(epoch or EPOCH)
        self.shown = dict(shown or {})
        self.about = about or {}
        self.best_weights = None
        bicubic = [upscale_bicubic(p.lr, self.scale) for p in validation]
        self.bicubic_psnr = validation_psnr(validation, bicubic, self.scale)
        self._number, self._place = place_to_show(validation, bicubic, self.scale)
        self._is_written = not self.shown  # else the last run may have ended before it wrote

    def best(self):
        """The row of the best epoch."""
        return max(self.rows, key=lambda row: row["psnr"])

    def count(self, fitted, waited):
        """Adds steps to the epoch: a `Fitted`, and the seconds in which it waited for crops."""
        self.epoch["loss"] += fitted.loss * fitted.steps
        self.epoch["seconds"] += fitted.seconds
        self.epoch["waited"] += waited

    def end_epoch(self, step, weights, learning_rate):
        """Scores the weights after an epoch, on the validation pictures.

        Args:
            step: steps done.
            weights: list of arrays.
            learning_rate: at its end.

        Returns:
            The line that tells of it.
        """
        number, sums = len(self.rows) + 1, self.epoch
        # Rounded before they are scored, so that the score is the saved file's own.
        weights = [
            weight_files.round_to_half(array) if variable.trainable else array
            for variable, array in zip(self.network.weights, weights, strict=True)
        ]
        self.network.set_weights(weights)
        pictures = [self.upscaler.enlarge(p.lr, condition=p.condition) for p in self.validation]
        psnr = validation_psnr(self.validation, pictures, self.scale)
        is_best = all(psnr > row["psnr"] for row in self.rows)
        if is_best:
            self.best_weights = weights
        row = {
            "epoch": number,
            "step": step,
            "learning_rate": learning_rate,
            "loss": round(sums["loss"] / self.settings["steps_per_epoch"], 7),
            "psnr": psnr,
            "bicubic_psnr": self.bicubic_psnr,
            "waited": min(1.0, sums["waited"] / max(sums["seconds"], 1e-9)),
            "seconds": sums["seconds"] + (self.rows[-1]["seconds"] if self.rows else 0.0),
        }
        self.rows.append(row)
        self.epoch = dict(EPOCH)
        # Of earlier epochs those that are powers of two: few, and early ones among them.
        self.shown = {n: crop for n, crop in self.shown.items() if n.bit_count() == 1}
        self.shown[number] = pictures[self._number][*self._in_hr()].copy()
        self._is_written = False
        return (
            f"epoch {number}/{self.settings['epochs']}: loss {row['loss']:.5f}, PSNR {psnr:.3f} dB "
            f"(bicubic {self.bicubic_psnr:.3f}), waited for crops {row['waited']:.1%}"
            + (f", best so far: {self.path}" if is_best else "")
        )

    def _in_hr(self):
        scale = self.scale
        return [slice(scale * part.start, scale * part.stop) for part in self._place]

    def write_weights(self):
        """Writes the best weights, where they are not on disk yet.

        Raises:
            OSError: they cannot be written; those that were there before still are.
        """
        if self.best_weights is None:
            return
        self.network.set_weights(self.best_weights)
        pictures = [to_network(p.lr) for p in self.validation[:HALO_PICTURES]]
        weight_files.export(self.network, self.path, self.upscaler.measured_halo(pictures))
        self.best_weights = None

    def write(self):
        """Brings the other files up to date.

        Raises:
            OSError: one cannot be written; what was there before is still there.
        """
        if self._is_written:
            return
        about = {
            "settings": self.settings,
            "best": self.best(),
            "backend": keras.backend.backend(),
            **self.about,
        }
        with replacing(self.path.with_suffix(".json")) as part:
            part.write_text(json.dumps(about, indent=2) + "\n")
        csv_path = self.path.with_suffix(".csv")
        with replacing(csv_path) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)
        from superres.training.plots import plot  # here, since matplotlib takes long to load

        plot(self.rows, self.path.with_suffix(".png"))
        self._draw_progress(self.path.with_suffix(".progress.png"))
        self._is_written = True

    def _draw_progress(self, path):
        """A part of a validation picture: LR, bicubic, as predicted, original; and as before."""
        scale, photograph = self.scale, self.validation[self._number]
        hr, lr = photograph.hr[*self._in_hr()], photograph.lr[*self._place]
        bicubic = upscale_bicubic(photograph.lr, scale)[*self._in_hr()]

        def panel(label, picture):
            if picture is not hr:
                label += f"  {metrics.psnr(hr, picture, scale):.2f} dB"
            return label, upscale_nearest(picture, SHOWN_ZOOM)

        *earlier, now = sorted(self.shown)
        nearest = upscale_nearest(lr, scale)
        lines = [
            [
                panel("nearest", nearest),
                panel("bicubic", bicubic),
                panel(f"epoch {now}", self.shown[now]),
                panel("original", hr),
            ]
        ]
        if earlier:
            lines.append([panel(f"epoch {n}", self.shown[n]) for n in earlier[-4:]])
        sheets = [side_by_side(line) for line in lines]
        width = max(sheet.shape[1] for sheet in sheets)
        sheets = [
            np.pad(s, ((0, 8), (0, width - s.shape[1]), (0, 0)), constant_values=255)
            for s in sheets
        ]
        write_picture(path, np.concatenate(sheets), {})
