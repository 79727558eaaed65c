"""Every fault, one function each; importing a module here adds its faults to ``FAULTS``."""

from chaos.faults import clients, connections, disk, models, processes
from chaos.faults.registration import FAULTS, Fault

__all__ = ["FAULTS", "Fault", "clients", "connections", "disk", "models", "processes"]
