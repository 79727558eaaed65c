"""Builds the description of this machine that tunings need, from settings and placement."""

from __future__ import annotations

from ingrain.cores import processor_name, usable_cores
from ingrain.engine.placement import Placement
from ingrain.machine_memory import free_bytes
from ingrain.python_backend import cuda
from ingrain.repository.tuning import Execution, Layout, Machine
from ingrain.settings import Settings
from ingrain.tuning.machine import ITEMS_SETTING, LAYOUT_SETTINGS, TOKENS_SETTING, TuningMachine


def tuning_machine(settings: Settings, placement: Placement) -> TuningMachine:
    """Return the machine, the defaults and the settings on which tunings depend."""
    policy = placement.policy
    copies, threads = LAYOUT_SETTINGS
    values = {
        copies: settings.model_instances,
        threads: settings.threads_per_instance,
        ITEMS_SETTING: settings.max_batch_size,
        TOKENS_SETTING: settings.max_batch_tokens,
    }
    return TuningMachine(
        machine=Machine(
            engine=placement.identity,
            instance_kind=placement.instance_kind,
            cores=usable_cores(),
            # The processor of a remote engine is unknown; this machine's is recorded instead.
            processor=", ".join(cuda.gpu_names()) if placement.on_this_gpu else processor_name(),
        ),
        default=Execution(
            layout=Layout(policy.instances, policy.threads),
            max_items=placement.batch_items,
            max_tokens=placement.batch_tokens,
            overhead_tokens=placement.overhead_tokens,
        ),
        given={name: value for name, value in values.items() if value},
        most_items=policy.max_batch_size,
        sweeps_layouts=placement.on_this_cpu,
        free_bytes=free_bytes,
        lone_threads=policy.lone_threads,
        devices=placement.devices,
    )
