"""What Hydra finds of qatexp: it takes plugins from modules below `hydra_plugins` alone."""

from qatexp.sweep import grid, local, ray_cluster, submitit_jobs
from qatexp.sweep.search import sweeper


class GridSweeper(grid.GridSweeper):
    """See `qatexp.sweep.grid`; chosen by ``hydra/sweeper=qatexp_grid``, the default."""


class SearchSweeper(sweeper.SearchSweeper):
    """See `qatexp.sweep.search`; chosen by ``hydra/sweeper=optuna``."""


class LocalLauncher(local.LocalLauncher):
    """See `qatexp.sweep.local`; chosen by ``hydra/launcher=local``."""


class RayLauncher(ray_cluster.RayLauncher):
    """See `qatexp.sweep.ray_cluster`; chosen by ``hydra/launcher=ray``."""


class SubmititLauncher(submitit_jobs.SubmititLauncher):
    """See `qatexp.sweep.submitit_jobs`; chosen by ``hydra/launcher=submitit_slurm``."""
