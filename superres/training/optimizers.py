"""Optimizers: Adam, and Muon for convolutions, both with averages of the weights; a schedule."""

import math

from superres.runtime import backend
from superres.runtime.backend import keras
from superres.upscaling.graph import Graph

ops = keras.ops


class WarmedUpAverages:
    """Moving averages of the weights with the decay min(ema_momentum, (1 + t) / (10 + t)).

    With 0.999 from the first step on, the average of 1,000 steps would hold the random beginning.
    """

    def _update_model_variables_moving_average(self, trainable_variables):
        step = ops.cast(self.iterations, "float32")
        decay = ops.minimum(self.ema_momentum, (1 + step) / (10 + step))
        decay = ops.where(step > 0, decay, 0.0)
        averages = self._model_variables_moving_average
        for variable, average in zip(trainable_variables, averages, strict=True):
            average.assign(decay * average + (1 - decay) * variable)

    def finalize_variable_values(self, var_list):
        """Does nothing: Keras would replace the weights by their averages after every `fit`."""


class Adam(WarmedUpAverages, keras.optimizers.Adam):
    """Adam, Kingma and Ba, 2014."""


class Muon(WarmedUpAverages, keras.optimizers.Muon):
    """Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) for convolutions.

    Keras's own gives every kernel that is not 2-D to Adam. Here a kernel (kh, kw, in, out) is
    the matrix (kh * kw * in, out) that multiplies a convolution's unfolded input. Its update has
    singular values near 0.2 sqrt(the longer side), which is Adam's usual size (Liu et al., 2025,
    https://arxiv.org/abs/2502.16982). `kernels` are the paths of its variables; Adam has the rest.
    """

    def __init__(self, *arguments, kernels, **options):
        super().__init__(*arguments, **options)
        self.kernels = kernels

    def _should_use_adamw(self, variable):
        return variable.path not in self.kernels

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """With JAX, kernels of one shape are updated together: a GPU gets few large products."""
        if keras.backend.backend() != "jax":
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        groups = {}
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            if self._should_use_adamw(variable):
                self.update_step(gradient, variable, learning_rate)
            else:
                groups.setdefault(tuple(variable.shape), []).append((gradient, variable))
        for group in groups.values():
            directions = []
            for gradient, variable in group:
                momentum = self.momentums[self._get_variable_index(variable)]
                momentum.assign(self.momentum * momentum + gradient)
                directions.append(gradient + self.momentum * momentum)  # Nesterov's
            updates = self.zeropower_via_newtonschulz5(ops.stack(directions), self.ns_steps)
            for (_, variable), update in zip(group, ops.unstack(updates), strict=True):
                variable.assign_sub(learning_rate * self.lr_adjust(update))

    def zeropower_via_newtonschulz5(self, x, steps):
        """Kernels (..., kh, kw, in, out) whose matrices get singular values of about 1.

        Keras multiplies the whole matrix in every iteration. All iterations together are a
        polynomial of its Gram matrix, (out, out), times the matrix: a third of the work. But that
        amplifies rounding errors, so GPUs, which multiply in TF32, use Keras's version.
        """
        matrix = ops.reshape(x, (*x.shape[:-4], math.prod(x.shape[-4:-1]), x.shape[-1]))
        if backend.has_gpu():
            return ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)
        gram = ops.matmul(ops.swapaxes(matrix, -1, -2), matrix)
        squared_norm = ops.trace(gram, axis1=-2, axis2=-1)[..., None, None] + 1e-14
        gram = gram / squared_norm
        identity = ops.eye(x.shape[-1], dtype=gram.dtype)
        product = identity / ops.sqrt(squared_norm)
        for _ in range(steps):
            square = ops.matmul(gram, gram)
            factor = self.muon_a * identity + self.muon_b * gram + self.muon_c * square
            product = ops.matmul(product, factor)
            gram = ops.matmul(ops.matmul(factor, gram), factor)
        return ops.reshape(ops.matmul(matrix, product), x.shape)

    def lr_adjust(self, x):
        """Scales an orthogonalised update to the root mean square `rms_rate`."""
        return x * (self.rms_rate * math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1])))


class HoldAndDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises to its peak, holds, and falls to 0, both linearly."""

    def __init__(self, peak, *, warmup_steps, decay_steps, total_steps):
        self.peak, self.warmup_steps = peak, warmup_steps
        self.decay_steps, self.total_steps = decay_steps, total_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        risen = step / max(1, self.warmup_steps)
        left = (self.total_steps - step) / self.decay_steps
        return self.peak * ops.clip(ops.minimum(risen, left), 0.0, 1.0)

    def get_config(self):
        return vars(self)


def adam(learning_rate, kernels=(), **options):
    """Adam with the decays (0.9, 0.99); `options` are those of every Keras optimizer."""
    return Adam(learning_rate, beta_2=0.99, **options)


def muon(learning_rate, kernels=(), **options):
    """Muon for `kernels`, a set of paths of variables, and Adam for all others."""
    options |= {"adam_beta_2": 0.99, "adam_weight_decay": None, "weight_decay": None}
    return Muon(learning_rate, kernels=kernels, **options)


def inner_kernels(network):
    """Paths of Muon's kernels: of all `Conv2D` layers but those that take or make pixels.

    So its authors advise. Transposed convolutions have input and output the other way round, and
    kernels of depthwise ones are no matrices.
    """

    def kernels(layer):
        if type(layer) is keras.layers.Conv2D:
            return {layer.kernel.path}
        return set().union(*map(kernels, getattr(layer, "layers", ())))  # of a nested model

    graph = Graph.of_model(network)
    outer = {graph.nodes[name].layer for name in graph.pixels_in | graph.emitting}
    return set().union(*(kernels(layer) for layer in network.layers if layer.name not in outer))


OPTIMIZERS = {"adam": adam, "muon": muon}
