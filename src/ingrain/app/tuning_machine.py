"""Reads from settings and placement what tunings need to know of this machine."""

from __future__ import annotations

from ingrain.cores import processor_name, usable_cores
from ingrain.engine.placement import Placement
from ingrain.python_backend import cuda
from ingrain.repository.tuning import Execution, Layout, Machine
from ingrain.settings import Settings
from ingrain.tuning.machine import ITEMS_SETTING, LAYOUT_SETTINGS, TOKENS_SETTING, TuningMachine
from ingrain.tuning.memory import free_bytes


def tuning_machine(settings: Settings, placement: Placement) -> TuningMachine:
    """Return what this server knows of how graphs are executed on it."""
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
            # For an engine elsewhere, whose processor is not known, this machine's.
            processor=", ".join(cuda.gpu_names()) if placement.on_this_gpu else processor_name(),
        ),
        default=Execution(
            layout=Layout(policy.instances, policy.threads),
            max_items=placement.batch_items,
            max_tokens=placement.batch_tokens,
        ),
        given={name: value for name, value in values.items() if value},
        most_items=policy.max_batch_size,
        enough_items=placement.enough_items,
        sweeps_layouts=placement.on_this_cpu,
        free_bytes=free_bytes,
        lone_threads=policy.lone_threads,
        devices=placement.devices,
    )
