"""What Hydra finds of qatexp: it takes plugins from modules below `hydra_plugins` alone."""

from qatexp.sweep import grid, launcher


class GridSweeper(grid.GridSweeper):
    """See `qatexp.sweep.grid`; chosen by ``hydra/sweeper=qatexp_grid``, the default."""


class LocalLauncher(launcher.LocalLauncher):
    """See `qatexp.sweep.launcher`; chosen by ``hydra/launcher=local``."""
