"""Physics-guided machine learning for materials characterization.

Two halves that are one sentence: *a local rule between neighbours, seen only
through a summed, far-away signal.*

- `debye.crystals`: structure file → Crystal → Graph → PhononNet → Spectrum → heat capacity.
- `debye.speckle`: equation → System → Trajectory → Scattering → frames → the law behind them.

Nothing heavy is imported until it is used.
"""

__version__ = "0.1.0"
