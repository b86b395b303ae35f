"""Kinds of networks that an experiment can name, each dense and with layers of variable rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adlrns_neuro.config import ExperimentConfig, ModelConfig
from adlrns_neuro.conversion import convert
from adlrns_neuro.data.coding import code, is_binary, requantised
from adlrns_neuro.layers import DynamicLowRankLayer, Ranked
from adlrns_neuro.models.mlp import DenseMLP, LowRankMLP, MlpConfig
from adlrns_neuro.models.resnet import CifarResNet
from adlrns_neuro.models.snn import DenseSNN, LowRankSNN
from adlrns_neuro.models.snn_classifier import (
    DenseSnnClassifier,
    RankedSnnClassifier,
    gate_cannot_learn,
)
from adlrns_neuro.models.snn_config import SnnConfig, check_opening
from adlrns_neuro.perf import PerfEstimator
from mapping.errors import ConfigError
from mapping.lowrank import second_moment, whitened_svd
from mapping.registry import Registry

SAMPLES = 8192
"""Inputs from which second moments are taken: several for each feature of the widest layer."""


IMAGES, BATCH = 1024, 128
"""Images from which a residual network's are taken: each has hundreds of patches; and at once."""
CHANNELS = 3


Arranger = Callable[[NDArray[Any]], Tensor]
"""From samples as they are read, (n, ...), to what a network takes, n along the first axis."""


class ModelFamily(Protocol):
    """A kind of network.

    All methods take the experiment's configuration and refuse, before anything is trained, what
    the family cannot do.
    """

    def arranger(self, config: ExperimentConfig, samples: NDArray[Any]) -> Arranger:
        """How samples reach the network.

        Args:
            config: the experiment.
            samples: those for training, as read; what is scaled is scaled by them.
        """
        ...

    def dense(self, config: ExperimentConfig, inputs: Tensor, classes: int) -> nn.Module:
        """A network to be trained: the teacher, and what the factors start from.

        Args:
            config: the experiment; ``config.model`` has the sizes.
            inputs: some of those to come, arranged.
            classes: number of its outputs.
        """
        ...

    def ranked(
        self, dense: nn.Module, config: ExperimentConfig, inputs: Tensor, estimator: PerfEstimator
    ) -> nn.Module:
        """The same function, as far as the largest rank has room, at a variable rank.

        Args:
            dense: as :meth:`dense` made it, trained; not changed.
            config: ``config.model`` has the levels and what layers have for each.
            inputs: training samples, arranged, from which activations are taken.
            estimator: models the energy of the layers.
        """
        ...


MODELS: Registry[ModelFamily] = Registry("model", "adlrns_neuro.models")


def standardised(samples: NDArray[Any]) -> Arranger:
    """Scales to mean 0 and deviation 1 over ``samples``, all values together."""
    mean = float(samples.mean(dtype=np.float64))
    deviation = float(samples.std(dtype=np.float64))

    def scale(inputs: NDArray[Any]) -> Tensor:
        return (torch.tensor(inputs, dtype=torch.float32) - mean) / deviation

    return scale


class MlpFamily:
    """Perceptrons, their hidden layers in factors from activation-whitened SVD."""

    def arranger(self, config: ExperimentConfig, samples: NDArray[Any]) -> Arranger:
        """One standardised row for each sample."""
        scale = standardised(samples)
        return lambda inputs: scale(inputs).flatten(1)

    def dense(self, config: ExperimentConfig, inputs: Tensor, classes: int) -> nn.Module:
        """A perceptron of ``config.model.hidden``."""
        return DenseMLP(self._sizes(config.model, inputs.shape[1], classes))

    def ranked(
        self, dense: nn.Module, config: ExperimentConfig, inputs: Tensor, estimator: PerfEstimator
    ) -> nn.Module:
        """The perceptron with its hidden layers factored.

        Raises:
            ConfigError: ``ADL-LAY-01`` when a level exceeds the full rank of a layer,
                ``ADL-GAT-01`` on a negative ``scorer_hidden``.
        """
        assert isinstance(dense, DenseMLP)
        model = LowRankMLP(self._sizes(config.model, dense.config.inputs, dense.config.classes))
        model.head.load_state_dict(dense.head.state_dict())
        was_training = dense.training
        with torch.no_grad():
            received = dense.eval().hidden_inputs(inputs[:SAMPLES])
            for number, (full, x) in enumerate(zip(dense.hidden, received, strict=True)):
                assert isinstance(full, nn.Linear)
                levels = model.config.levels_by_layer[number]
                model.hidden[number] = Ranked(_factored(full, x, levels, config.model, estimator))
        dense.train(was_training)
        return model.to(inputs)

    def _sizes(self, config: ModelConfig, inputs: int, classes: int) -> MlpConfig:
        return MlpConfig(
            inputs=inputs,
            hidden=config.hidden,
            classes=classes,
            levels=config.ranks,
            layer_levels=config.layer_levels,
            early_exit=config.early_exit,
            level_bias=config.level_bias,
            level_gain=config.level_gain,
        )


def _factored(
    full: nn.Linear,
    received: Tensor,
    levels: Sequence[int],
    config: ModelConfig,
    estimator: PerfEstimator,
) -> DynamicLowRankLayer:
    """A layer of variable rank in the place of a full one; its bias stays only by level."""
    layer = DynamicLowRankLayer(
        full.in_features,
        full.out_features,
        levels=levels,
        level_bias=config.level_bias,
        level_gain=config.level_gain,
        scorer_hidden=config.scorer_hidden,
        perf_estimator=estimator,
    )
    factors = whitened_svd(
        full.weight.detach().cpu().numpy(),
        second_moment(received.cpu().numpy()),
        layer.levels[-1],
    )
    for parameter, factor in zip((layer.U, layer.V), factors, strict=True):
        parameter.copy_(torch.from_numpy(factor))
    if layer.level_bias is not None and full.bias is not None:
        layer.level_bias[0].copy_(full.bias)
    return layer


class ResNetFamily:
    """Residual networks for small images, their convolutions in factors from whitened SVD.

    Layers have a bias for each level that keeps the mean of their outputs, and no gains. Batch
    normalisation keeps statistics for each level.
    """

    def arranger(self, config: ExperimentConfig, samples: NDArray[Any]) -> Arranger:
        """Standardised images (n, 3, height, width)."""
        scale = standardised(samples)

        def arranged(inputs: NDArray[Any]) -> Tensor:
            images = scale(inputs)
            if images.ndim == 4 and images.shape[1] != CHANNELS == images.shape[3]:
                return images.permute(0, 3, 1, 2).contiguous()
            return images

        return arranged

    def dense(self, config: ExperimentConfig, inputs: Tensor, classes: int) -> nn.Module:
        """A residual network of ``config.model.depth`` layers.

        Raises:
            ConfigError: ``ADL-RES-01`` when there is none of that depth.
        """
        return CifarResNet(config.model.depth, classes)

    def ranked(
        self, dense: nn.Module, config: ExperimentConfig, inputs: Tensor, estimator: PerfEstimator
    ) -> nn.Module:
        """The network with each level that pays in a layer, see :func:`~adlrns_neuro.convert`.

        Raises:
            ConfigError: those of ``convert``.
        """
        batches = [(part,) for part in torch.split(inputs[:IMAGES], BATCH)]
        model, _ = convert(
            dense,
            batches,
            levels=config.model.ranks,
            scorer_hidden=config.model.scorer_hidden,
            perf_estimator=estimator,
        )
        return model


class SnnFamily:
    """Spiking networks with one hidden population, their input matrix in factors.

    Layers have neither biases nor gains. Gates are linear and fitted after training.
    """

    def arranger(self, config: ExperimentConfig, samples: NDArray[Any]) -> Arranger:
        """Payloads, integers of shape (n, steps, inputs).

        The brightest pixel of ``samples`` is white; what is brighter later on is white too.

        Raises:
            ConfigError: ``ADL-SNN-05`` on keys that a spiking network cannot have; of the arranger
                ``ADL-COD-01`` or ``ADL-COD-02`` on what the coding cannot code.
        """
        _check_spiking(config)
        snn = config.model.snn
        if snn.coding is None:
            return lambda inputs: torch.tensor(inputs).flatten(2)
        coding, white = snn.coding, int(samples.max())

        def coded(inputs: NDArray[Any]) -> Tensor:
            images, maximum = np.minimum(inputs, white).reshape(len(inputs), -1), white
            if not is_binary(coding):
                images = requantised(images, maximum=white, to=snn.payload_max)
                maximum = snn.payload_max
            return torch.from_numpy(code(images, snn.steps, coding, maximum=maximum))

        return coded

    def dense(self, config: ExperimentConfig, inputs: Tensor, classes: int) -> nn.Module:
        """A network of ``config.model.hidden`` neurons, and of ``config.model.snn``.

        Raises:
            ConfigError: ``ADL-SNN-04`` or ``ADL-TRN-04`` on constants out of range, ``ADL-SNN-05``.
        """
        _check_spiking(config)
        snn = config.model.snn
        graded = snn.coding is not None and not is_binary(snn.coding)
        largest = snn.payload_max if graded else 1
        own = snn.model_dump(exclude={"coding", "steps", "payload_max", "logit_scale", "open_at"})
        sizes = SnnConfig(
            inputs=inputs.shape[2],
            hidden=config.model.hidden[0],
            classes=classes,
            levels=config.model.ranks,
            steps=inputs.shape[1],
            coding=snn.coding or "rate",
            payload_max=largest,
            payload_scale=1.0 / largest,
            **own,
        )
        check_opening(sizes, snn.open_at, where="model.snn.open_at")
        return DenseSnnClassifier(DenseSNN(sizes), snn.logit_scale)

    def ranked(
        self, dense: nn.Module, config: ExperimentConfig, inputs: Tensor, estimator: PerfEstimator
    ) -> nn.Module:
        """The network with its input matrix factored.

        Raises:
            ConfigError: ``ADL-LAY-01`` when a level exceeds the full rank of the matrix.
        """
        assert isinstance(dense, DenseSnnClassifier)
        snn = config.model.snn
        some = inputs[:SAMPLES]
        moments = [
            second_moment(part.flatten(0, 1).cpu().numpy()) * (len(part) / len(some))
            for part in torch.split(some, BATCH)
        ]
        moment = torch.from_numpy(np.sum(moments, axis=0) * dense.network.config.payload_scale**2)
        network = LowRankSNN.from_dense(
            dense.network, moment, levels=config.model.ranks, perf_estimator=estimator
        )
        return RankedSnnClassifier(network, logit_scale=snn.logit_scale, open_at=snn.open_at)


def _check_spiking(config: ExperimentConfig) -> None:
    """Refuse keys that a spiking network cannot have."""
    model = config.model
    if config.train.energy_penalty_weight > 0:
        raise gate_cannot_learn()
    if len(model.hidden) != 1:
        raise _no_snn(f"{len(model.hidden)} hidden layers", "hidden", "give one, as [256]")
    if model.scorer_hidden > 0:
        raise _no_snn("a hidden population in its gate", "scorer_hidden", "leave it at 0")


def _no_snn(what: str, key: str, remedy: str) -> ConfigError:
    return ConfigError(
        f"a spiking network cannot have {what}",
        where=f"model.{key}",
        remedy=remedy,
        code="ADL-SNN-05",
    )


MODELS.register("adlrns_mlp")(MlpFamily())
MODELS.register("adlrns_resnet")(ResNetFamily())
MODELS.register("adlrns_snn")(SnnFamily())
