"""Scores each epoch and writes the files of a run: weights, settings, table, plot, picture."""

import contextlib
import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from superres.images.panels import side_by_side
from superres.images.pixels import to_network
from superres.images.resize import upscale_bicubic, upscale_nearest
from superres.images.write import write_picture
from superres.runtime import devices, hardware
from superres.runtime.backend import keras
from superres.runtime.errors import InputError, is_fault
from superres.runtime.files import replacing
from superres.runtime.terminal import duration
from superres.scoring import metrics
from superres.training.checkpoint import State
from superres.training.losses import PERCEPTUAL
from superres.upscaling import limits, weight_files
from superres.upscaling.upscaler import Upscaler

HALO_PICTURES = 6  # validation pictures on which the halo of new weights is measured
EMPTY_SUMS = {"loss": 0.0, "seconds": 0.0, "waited": 0.0}  # sums over the steps of an epoch
TIMED_STEPS, DAY = 20, 24 * 60 * 60  # steps that a forecast is based on; seconds
DETAIL_SIZE, DETAIL_ZOOM = 96, 3  # side of a detail, in HR pixels; its enlargement
DETAILS = 8  # in the sheet of a training for sharp pictures


def validation_psnr(photographs, pictures, scale):
    """Mean PSNR on Y of enlarged pictures against the originals of photographs, in dB."""
    pairs = zip(photographs, pictures, strict=True)
    return float(np.mean([metrics.psnr(p.hr, picture, scale) for p, picture in pairs]))


def hardest_details(photographs, bicubic, scale):
    """For each photograph the detail in which bicubic's error is largest; the largest error first.

    Returns a list of [number of the photograph, LR rows and columns].
    """
    side, hardest = DETAIL_SIZE // scale, []
    for number, (photograph, picture) in enumerate(zip(photographs, bicubic, strict=True)):
        error = (photograph.hr.astype(np.float32) - picture) ** 2
        height, width = photograph.lr.shape[:2]
        rows, columns, candidates = min(side, height), min(side, width), []
        for top in range(0, height - rows + 1, rows):
            for left in range(0, width - columns + 1, columns):
                place = slice(top, top + rows), slice(left, left + columns)
                inside = error[*(slice(scale * part.start, scale * part.stop) for part in place)]
                candidates.append((float(inside.mean()), number, place))
        hardest.append(max(candidates, key=lambda candidate: candidate[0]))
    return [place for _, *place in sorted(hardest, key=lambda candidate: -candidate[0])]


class TrainingLog:
    """The scores of all epochs, and the files that report them.

    Args:
        path: of the weights; the other files lie beside them.
        settings: dict of all settings.
        network: `KerasNetwork` in float32, to which averaged weights are copied.
        dataset: `Dataset`, whose validation pictures are scored.
        state: `State` to resume from.
    """

    def __init__(self, path, settings, network, dataset, state=None):
        self.path, self.settings, self.scale = Path(path), settings, settings["scale"]
        self.total_steps = settings["epochs"] * settings["steps_per_epoch"]
        self.network = network.model
        tile_size = settings["validation_crop"]
        self.upscaler = Upscaler(network, precision="float32", tile_size=tile_size)
        self.dataset = dataset
        self.validation = list(dataset.validation.values())
        self.rows, self.epoch_sums = [], dict(EMPTY_SUMS)  # a dict for each epoch; of this one
        self.details = {}  # epoch -> prediction of a detail
        self.best_weights = None  # until they are on the disk
        bicubic = [upscale_bicubic(p.lr, self.scale) for p in self.validation]
        self.bicubic_psnr = validation_psnr(self.validation, bicubic, self.scale)
        self._hardest = hardest_details(self.validation, bicubic, self.scale)
        # PSNR cannot choose the best epoch then, since sharper pictures have a lower one.
        self._takes_last = settings["loss"] == PERCEPTUAL
        self._pictures = []  # of the last epoch
        if state:
            self.rows, self.epoch_sums = state.log["rows"], state.log["epoch"]
            self.details = state.details
        self._is_written = not self.rows  # when resuming, the files may be older than the state

    @contextlib.contextmanager
    def progress_bar(self, step):
        """Shows a bar from `step` on."""
        batch = self.settings["batch_size"]
        with tqdm(
            desc="training",
            total=self.total_steps * batch,
            initial=step * batch,
            unit="crop",
            unit_scale=True,
            smoothing=0.05,
            mininterval=0.5 if sys.stderr.isatty() else 60,  # a log file needs few lines
        ) as self._bar:
            self._left, self._timed_steps = self.total_steps - step, 0
            self._began, self._is_forecast = None, False
            yield

    def on_steps(self, steps, loss):
        """Moves the bar; once, after a few steps, prints how long all will take."""
        psnr = {"psnr": f"{self.rows[-1]['psnr']:.2f}"} if self.rows else {}
        self._bar.set_postfix(psnr | {"loss": f"{loss:.4f}"}, refresh=False)
        self._bar.update(steps * self.settings["batch_size"])
        self._left -= steps
        if self._began is None:  # the first steps, with their compilation, do not count
            self._began = time.monotonic()
            return
        self._timed_steps += steps
        if self._timed_steps >= TIMED_STEPS and not self._is_forecast:
            seconds = self._left * (time.monotonic() - self._began) / self._timed_steps
            hint = "; python train.py --recipe speedrun takes minutes" if seconds > DAY else ""
            self._bar.write(f"{self._left:,} steps to go, about {duration(seconds)}{hint}")
            self._is_forecast = True

    def best(self):
        return self.rows[-1] if self._takes_last else max(self.rows, key=lambda row: row["psnr"])

    def add(self, fitted):
        """Adds a `FitResult` to the epoch."""
        self.epoch_sums["loss"] += fitted.loss * fitted.steps
        self.epoch_sums["seconds"] += fitted.seconds
        self.epoch_sums["waited"] += fitted.waited

    def end_epoch(self, trainer):
        """Scores the averaged weights of a `Trainer` on the validation pictures."""
        if not devices.is_first():
            return
        number = len(self.rows) + 1
        # Rounded before they are scored, so that the score is that of the saved file.
        weights = [
            weight_files.round_to_half(array) if variable.trainable else array
            for variable, array in zip(self.network.weights, trainer.ema_weights(), strict=True)
        ]
        self.network.set_weights(weights)
        pictures = [self.upscaler.enlarge(p.lr, condition=p.condition) for p in self.validation]
        psnr = validation_psnr(self.validation, pictures, self.scale)
        if is_best := self._takes_last or all(psnr > row["psnr"] for row in self.rows):
            self.best_weights = weights
        row = self._row(trainer, psnr)
        self.rows.append(row)
        self.epoch_sums, self._is_written = dict(EMPTY_SUMS), False
        # Keep the details of epochs 1, 2, 4, 8, ...
        self.details = {n: crop for n, crop in self.details.items() if n.bit_count() == 1}
        index, place = self._hardest[0]
        self.details[number] = pictures[index][*self._in_hr(place)].copy()
        self._pictures = pictures
        tqdm.write(
            f"epoch {number}/{self.settings['epochs']}: loss {row['loss']:.5f}, PSNR {psnr:.3f} dB "
            f"(bicubic {self.bicubic_psnr:.3f}), waited for crops {row['waited']:.1%}"
            + (f", {'' if self._takes_last else 'best so far: '}{self.path}" if is_best else "")
        )

    def _row(self, trainer, psnr):
        return {
            "epoch": len(self.rows) + 1,
            "step": trainer.step,
            "learning_rate": float(trainer.schedule(trainer.step)),
            "loss": round(self.epoch_sums["loss"] / self.settings["steps_per_epoch"], 7),
            "psnr": psnr,
            "bicubic_psnr": self.bicubic_psnr,
            "waited": min(1.0, self.epoch_sums["waited"] / max(self.epoch_sums["seconds"], 1e-9)),
            # Since the beginning of the run.
            "seconds": self.epoch_sums["seconds"] + sum(row["seconds"] for row in self.rows[-1:]),
        }

    def _in_hr(self, place):
        return [slice(self.scale * part.start, self.scale * part.stop) for part in place]

    def save(self, states, trainer):
        """Saves weights, state and log; returns an error of the machine, such as a full disk."""
        if not devices.is_first():
            return None
        log = {"rows": self.rows, "epoch": self.epoch_sums}
        parts = trainer.arrays(), log, self.details, self.dataset.record
        try:
            # Weights first: with the state alone, a resumed run would not write them again.
            self.write_weights()
            states.save(State(trainer.step, self.settings, *parts))
            self.write()
        except (InputError, OSError) as error:
            if is_fault(error):  # of the program, not of the machine
                raise
            tqdm.write(
                f"could not save at step {trainer.step:,}: {error}; the last save is kept, and the "
                "next one tries again"
            )
            return error
        return None

    def conclude(self):
        """Prints the result of a finished run."""
        if devices.is_first():
            best, path = self.best(), self.path
            print(
                f"done: {path} holds the weights of epoch {best['epoch']}, PSNR {best['psnr']:.3f} "
                f"dB (bicubic {best['bicubic_psnr']:.3f}); {self.dataset.skips}; enlarge with "
                f"python output.py --weights {path}"
            )

    def write_weights(self):
        """Writes the best weights, unless they are on the disk."""
        if self.best_weights is None:
            return
        self.network.set_weights(self.best_weights)
        pairs = [(to_network(p.lr), p.condition) for p in self.validation]
        halo = self.upscaler.measure_halo([lr for lr, _ in pairs[:HALO_PICTURES]])
        found = limits.measure(self.network, self.upscaler.network.graph, pairs)
        weight_files.export(self.network, self.path, halo, found)
        self.best_weights = None

    def write(self):
        """Writes the other files, unless they are up to date."""
        if self._is_written:
            return
        about = {
            "settings": self.settings,
            "best": self.best(),
            "backend": keras.backend.backend(),
            "machine": hardware.describe(),
            "commit": hardware.commit(),
            **self.dataset.record,
        }
        with replacing(self.path.with_suffix(".json")) as part:
            part.write_text(json.dumps(about, indent=2) + "\n")
        with replacing(self.path.with_suffix(".csv")) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)
        from superres.training.plots import plot  # here, since matplotlib takes long to load

        plot(self.rows, self.path.with_suffix(".png"))
        self._draw_progress(self.path.with_suffix(".progress.png"))
        if self._takes_last and self._pictures:
            self._draw_details(self.path.with_suffix(".details.png"), self._pictures)
        self._is_written = True

    def _draw_progress(self, path):
        """Draws the detail: nearest, bicubic, prediction, original; below, earlier predictions."""
        scale, (index, place) = self.scale, self._hardest[0]
        photograph, in_hr = self.validation[index], self._in_hr(place)
        hr, lr = photograph.hr[*in_hr], photograph.lr[*place]
        bicubic = upscale_bicubic(photograph.lr, scale)[*in_hr]

        def panel(label, picture):
            if picture is not hr:
                label += f"  {metrics.psnr(hr, picture, scale):.2f} dB"
            return label, upscale_nearest(picture, DETAIL_ZOOM)

        *earlier, now = [panel(f"epoch {n}", self.details[n]) for n in sorted(self.details)]
        nearest, bicubic = panel("nearest", upscale_nearest(lr, scale)), panel("bicubic", bicubic)
        lines = [[nearest, bicubic, now, panel("original", hr)], earlier[-4:]]
        sheets = [side_by_side(line) for line in lines if line]
        width = max(sheet.shape[1] for sheet in sheets)
        white = [((0, 8), (0, width - sheet.shape[1]), (0, 0)) for sheet in sheets]
        sheets = [np.pad(s, w, constant_values=255) for s, w in zip(sheets, white, strict=True)]
        write_picture(path, np.concatenate(sheets), {})

    def _draw_details(self, path, pictures):
        """Draws details of several pictures, each a column: bicubic, prediction, original."""
        columns = []
        for index, place in self._hardest[:DETAILS]:
            photograph, in_hr = self.validation[index], self._in_hr(place)
            bicubic = upscale_bicubic(photograph.lr, self.scale)
            column = [one[*in_hr] for one in (bicubic, pictures[index], photograph.hr)]
            column = upscale_nearest(np.concatenate(column), DETAIL_ZOOM)
            columns.append((f"picture {index + 1}", column))
        size = columns[0][1].shape
        write_picture(path, side_by_side([one for one in columns if one[1].shape == size]), {})
