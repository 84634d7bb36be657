"""What Hydra finds of qatexp: it takes plugins from modules below `hydra_plugins` alone."""

from qatexp.sweep import grid, launcher
from qatexp.sweep.search import sweeper


class GridSweeper(grid.GridSweeper):
    """See `qatexp.sweep.grid`; chosen by ``hydra/sweeper=qatexp_grid``, the default."""


class SearchSweeper(sweeper.SearchSweeper):
    """See `qatexp.sweep.search`; chosen by ``hydra/sweeper=optuna``."""


class LocalLauncher(launcher.LocalLauncher):
    """See `qatexp.sweep.launcher`; chosen by ``hydra/launcher=local``."""
