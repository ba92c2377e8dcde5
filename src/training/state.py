"""Everything that training changes, and its way to a checkpoint and back."""

import io
import pickle
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_class, list_optimizers
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from src.config.image_size import Size
from src.config.schema import Config, Optim
from src.core.distributed import ALONE, Ranks
from src.core.errors import UsageError
from src.core.files import check_zip, damaged, written_whole
from src.core.suggestions import nearest
from src.models.quick_steps import QuickSteps
from src.training.machine import Machine

# Not SGD: it gains nothing, and its fused step fails where some weights have learned before and others begin.
FUSED = (torch.optim.Adam, torch.optim.AdamW)
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Progress:
    """Where training stands, and with how many threads and processes.

    `loss_sum`, `seen` and `gradient_sum` (of log.gradients) belong to the epoch under way, over all processes.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seen: int = 0
    gradient_sum: float = 0.0
    seconds: float = 0.0
    threads: int = 1
    ranks: int = 1
    history: list[dict[str, Any]] = field(default_factory=list)

    def next_epoch(self) -> None:
        self.epoch, self.step, self.loss_sum, self.seen, self.seconds = self.epoch + 1, 0, 0.0, 0, 0.0
        self.gradient_sum = 0.0


class State:
    """Network, averaged weights, optimizer and progress of one fold; the same in every rank but for batch norms."""

    def __init__(self, config: Config, machine: Machine, network: nn.Module, ranks: Ranks = ALONE) -> None:
        self.ranks = ranks
        self.device = machine.torch_device
        self.half = HALF.get(machine.precision)
        self.scaler = torch.amp.GradScaler(machine.device) if machine.precision == "fp16" else None
        self.format = machine.format
        self.recomputes = config.train.checkpointing
        if machine.device == "cuda":
            torch.backends.cudnn.benchmark = True  # steps have two sizes at most, so the fastest kernels are soon known
        network = network.to(self.device, memory_format=self.format)
        for tensor in network.state_dict().values():  # other processors may begin with other last digits
            ranks.broadcast_tensor(tensor, owner=0)
        self.optimizer = optimizer_of(config, network)
        decay = config.train.ema_decay
        # The decay warms up with the steps: an average over 500 steps would ruin a run of 60.
        self.ema = ModelEmaV3(network, decay=decay, use_warmup=True) if decay else None
        self.plain_network = network
        # Several ranks wrap it to share gradients, once it is known what a stage freezes: see share_gradients.
        self.network = network
        self.progress = Progress()
        self.resting: list[_BatchNorm] = []
        shape = config.planes, *Size.of(config.images.size).shape
        self.quick = QuickSteps(network, shape) if self.device.type == "cpu" and not self.recomputes else None

    @property
    def answering_network(self) -> nn.Module:
        """The one that is scored and kept: the averaged weights where there are any."""
        return self.ema.module if self.ema else self.plain_network

    def rest(self, norms: list[_BatchNorm]) -> None:
        """Let the statistics of these batch norms, and of no others, rest while the network trains."""
        self.resting = norms
        if self.quick:
            self.quick.rest(norms)

    def train_mode(self) -> None:
        self.network.train()
        for norm in self.resting:
            norm.eval()

    def share_gradients(self) -> None:
        """Let each backward pass end in the mean of the ranks' gradients, of the parameters that learn now."""
        if self.ranks.count > 1:
            self.network = DistributedDataParallel(
                self.plain_network,
                device_ids=[self.device] if self.device.type == "cuda" else None,
                init_sync=False,  # all began alike, and
                forward_sync_buffers=False,  # the statistics of batch norms are each rank's own
            )

    def forward(self, images: torch.Tensor, *cells: torch.Tensor) -> torch.Tensor:
        """(n, classes) fp32 logits, computed in the machine's precision; cells: of the columns, where it sees some."""
        images = images.contiguous(memory_format=self.format)
        with self.quick.around() if self.quick else nullcontext():
            if self.half is None:
                return self.network(images, *cells)
            with torch.autocast(self.device.type, self.half):
                return self.network(images, *cells).float()

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a piece of a step; in fp16 scaled, so that small ones are not lost."""
        # A second way forward on the way back shows the batch norms the same images once more.
        norms = self._norm_buffers() if self.recomputes else []
        before = [tensor.clone() for tensor in norms]
        (self.scaler.scale(loss) if self.scaler else loss).backward()
        for tensor, value in zip(norms, before, strict=True):
            tensor.copy_(value)

    def unshared(self) -> AbstractContextManager[None]:
        """Within it a backward pass adds gradients without the other ranks'."""
        return self.network.no_sync() if isinstance(self.network, DistributedDataParallel) else nullcontext()

    def gradient_length(self) -> float:
        """Of all gradients together, before they are clipped. On a GPU this waits for the step."""
        gradients = [p.grad for p in self.plain_network.parameters() if p.grad is not None]
        return float(nn.utils.get_total_norm(gradients)) / (self.scaler.get_scale() if self.scaler else 1)

    def update(self, clip: float | None) -> None:
        """The optimizer's step, of gradients no longer than `clip`; in fp16 none where they are not finite."""
        if clip and self.scaler:
            self.scaler.unscale_(self.optimizer)
        if clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def share_statistics(self) -> None:
        """Give every rank the mean of all ranks' running statistics of batch norms, of which each saw its own images.

        They follow the batches linearly, and nothing learns from them: once, before they are used, is enough.
        """
        self.ranks.all_reduce_mean(self._statistics())

    def _statistics(self) -> list[torch.Tensor]:
        networks = [self.plain_network, *([self.ema.module] if self.ema else [])]
        norms = [module for network in networks for module in network.modules() if isinstance(module, _BatchNorm)]
        return [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var) if tensor is not None]

    def _norm_buffers(self) -> list[torch.Tensor]:
        norms = [module for module in self.plain_network.modules() if isinstance(module, _BatchNorm)]
        return [tensor for norm in norms for tensor in norm.buffers(recurse=False)]

    def save(self, path: Path) -> None:
        """Write a checkpoint: the leader does, of what all ranks know."""
        statistics = self.ranks.all_gather([tensor.cpu() for tensor in self._statistics()])
        if not self.ranks.is_main:
            return
        kept = {
            "network": self.plain_network.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "statistics": statistics if self.ranks.count > 1 else None,
            "progress": vars(self.progress),
        }
        with written_whole(path) as part:
            # Through memory: torch's own writer tells a full disk as an error of its own kind.
            buffer = io.BytesIO()
            torch.save(kept, buffer)
            part.write_bytes(buffer.getbuffer())

    def restore(self, path: Path) -> None:
        """Go back to a checkpoint. Raises DamagedFile where it is not as it was written: by its own checksums, which
        torch does not look at."""
        remedy = "delete it to train this fold from its start"
        check_zip(path, remedy)
        try:
            kept = torch.load(path, map_location=self.device, weights_only=True)
        except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise damaged(path, f"cannot be read ({type(error).__name__})", remedy) from None
        try:
            self._take(kept)
        except torch.OutOfMemoryError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            raise damaged(path, f"is of another network or version ({type(error).__name__})", remedy) from None

    def _take(self, kept: dict[str, Any]) -> None:
        self.plain_network.load_state_dict(kept["network"])
        if self.ema:
            self.ema.module.load_state_dict(kept["ema"])
        self.optimizer.load_state_dict(kept["optimizer"])
        if kept["scaler"] and self.scaler:
            self.scaler.load_state_dict(kept["scaler"])
        if kept.get("statistics"):
            self._take_statistics(kept["statistics"])
        self.progress = Progress(**kept["progress"])

    def _take_statistics(self, kept: list[list[torch.Tensor]]) -> None:
        """Each rank its own; where there were more of them or fewer, each the mean."""
        for at, tensor in enumerate(self._statistics()):
            every = [of_rank[at] for of_rank in kept]
            tensor.copy_(every[self.ranks.index] if len(kept) == self.ranks.count else torch.stack(every).mean(0))


def optimizer_of(config: Config, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a configuration. Raises UsageError for what timm cannot make."""
    optim = config.optim
    if optim.name not in list_optimizers():
        raise UsageError(
            f"optim.name={optim.name}: timm knows no such optimizer.{nearest(optim.name, list_optimizers())}",
            code="unknown-optimizer",
        )
    try:
        return create_optimizer_v2(
            network.backbone,
            opt=optim.name,
            lr=optim.lr,
            weight_decay=optim.weight_decay,
            momentum=optim.momentum,
            layer_decay=optim.layer_decay,
            **(_fused(optim) | optim.args),
        )
    except (ValueError, AssertionError) as error:
        raise UsageError(f"optim.name={optim.name}: {error}", code="bad-optimizer-args") from None
    except TypeError as error:
        raise UsageError(f"optim.args of {optim.name}: {error}", code="bad-optimizer-args") from None


def _fused(optim: Optim) -> dict[str, bool]:
    """Where an optimizer takes its step in one pass over the weights, that is asked for; optim.args may say otherwise.

    On a processor a step of AdamW then takes a third of the time; on a GPU it is one kernel, which in fp16 also looks
    for overflow there, where others make the processor wait for it.
    """
    kind = get_optimizer_class(optim.name, bind_defaults=False)
    return {"fused": True} if kind in FUSED and "foreach" not in optim.args else {}
