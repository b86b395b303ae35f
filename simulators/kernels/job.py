"""What a call leaves in memory for the threads that work on it: an int64 array of these fields.

Addresses are of the first element; samples' rows are addressed one by one, see :mod:`.tiles`.
Samples are numbered in the order in which they are computed: by rank, the largest first.
"""

from __future__ import annotations

(
    PHASE,  # which of the phases below the chunks belong to
    BATCH,  # samples
    INPUTS,  # in
    OUTPUTS,  # out
    R_MAX,
    Z_WIDTH,  # r_max, rounded up to whole panels
    V_TILES,  # address of (groups, pairs of inputs, LANES, 2) float32
    V_PANELS,  # address of (panels, in, PANEL) float32
    U_PANELS,  # address of (panels, r_max, PANEL) float32
    V_GROUPS,  # address of (groups, vectors of in, GROUP, LANES) float32
    U_STRIPS,  # address of strips, (r_max, their width) float32 each
    SCALE,  # address of Z_WIDTH gains
    BIAS,  # address of the biases, rounded up to whole panels
    ONES,  # address of gains of 1
    ZEROS,  # address of biases of 0
    SCALE_ROOM,  # address of gains that were copied since they fill no whole panels
    BIAS_ROOM,  # the same of biases
    Z,  # address of (samples, Z_WIDTH) float32: what lies between the factors
    TAILS,  # address of (samples + a tile, PANEL) float32: outputs that fill no panel
    SPARE,  # address of outputs of one sample that nobody reads, rounded up to whole panels
    X_ROWS,  # address of the samples' input addresses
    Z_ROWS,  # the same of their rows of Z
    Y_ROWS,  # the same of their outputs
    TAIL_ROWS,  # the same of their rows of TAILS
    RANKS,  # address of the samples' ranks, int64
    ACTIVE,  # address of the number of samples that reach beyond rank v·HALF, by v, int64
    COUNTS,  # address of r_max + 2 int64 to sort with
    EVENT_PLACES,  # address of (threads, in + LANES) int32
    SHARED,  # address of the pool's memory
    ROOM,  # most samples of a call
    CALL_THREADS,  # most threads of a call: as many as there is memory for, or fewer
    FINITE,  # whether V is finite, so that inputs of 0 may be passed over
    RATES,  # address of seconds per turn, (paths, FEATURES) float64; 0 until they are known
    TURNS,  # address of (paths, FEATURES) float64: what each path has to do
    SECONDS,  # address of (paths,) float64: how long that takes
    REACH,  # address of as many int64 as ACTIVE has, to count with
    ROW_BLOCK,  # samples of a chunk of the first stage
    WIDTH,  # groups of V of a chunk of the first stage, at most
    TILES,  # tiles of samples of a chunk of the second stage
    PANELS,  # panels of U of a chunk of the second stage
    THEN,  # phase that a chunk of the first stage goes on with for its samples; 0 if there is none
    KNOWN,  # ranks that the first stage need not compute again, in whole vectors of its layout
    BIAS_ROWS,  # address of the addresses of what each sample's outputs begin with
    FLOOR,  # least output of a phase that has one, float64
    ROUNDS,  # whether numbers may be rounded to bfloat16
    V_PAIRS,  # address of (groups, pairs of inputs, LANES, 2) bfloat16
    U_PAIRS,  # address of (groups, pairs of ranks, LANES, 2) bfloat16
    ROUNDED_Z,  # address of what lies between the factors as bfloat16, in the samples' order
    ROUNDED_STEP,  # bytes from sample to sample there
    STAGES,  # address of each thread's block of sums, float32, and block of inputs, bfloat16
    STAGE_STEP,  # bytes from thread to thread there
    X_STEP,  # bytes from sample to sample of a block of inputs
    HALVES,  # whether inputs and outputs of a call that rounds are bfloat16 themselves
    JOB_SIZE,
) = range(54)
(
    PROJECT,  # V on dense inputs
    SCATTER,  # V on events
    EXPAND,  # U with one bias for all samples
    EXPAND_FLOORED,  # the same, sums no less than FLOOR
    EXPAND_EACH,  # U with a bias for each sample, likewise
    PROJECT_FIRST,  # in bfloat16, V at one rank for all samples
    PROJECT_ROUNDED,  # in bfloat16, V
    EXPAND_ROUNDED,  # in bfloat16, U with a bias for each sample, sums no less than FLOOR
) = range(1, 9)
"""Phases."""

CHOOSE = -1
"""In place of a path: whichever takes least time."""
DONE, UNFIT, UNREADY = -1, -2, -3
"""Results of a call beside the number of a sample, see :func:`simulators.kernels.call.run`."""
PATHS = ("rows", "tiles", "events", "bfloat16")
"""Ways to run a call: sample by sample, by register tiles, by tiles on events, by blocks of numbers
that are rounded to bfloat16."""
BY_ROWS, BY_TILES, BY_EVENTS, BY_BFLOAT16 = range(len(PATHS))
LAYOUTS = (V_GROUPS, V_TILES, V_PANELS, V_PAIRS)
"""By path: the field that is 0 until the factors are in the layout that it reads."""
FEATURES = 15
"""Counts of a path in the cost model; a path that needs fewer leaves the others at 0."""

LAYER, JOB, RECTIFIED, LEVELS, PRICE, OUT, OUT_STEP, CHAIN_FIELDS = range(8)
"""Fields of a layer in a chain, 8 bytes each: address of what it holds (see
:attr:`simulators.kernels.chain_layers.GatedLayer.address`; 0 of a full matrix) and of its job;
whether outputs below 0 become 0; levels to choose from; price of the gate's cost, float64; address
of the outputs' first row, and bytes from row to row."""

(
    FIRST,
    EXIT,
    BEGIN,
    BEGIN_STEP,
    ANSWERS,
    ANSWERS_STEP,
    ABOVE,
    ABOVE_LEVELS,
    CLASSES,
    GATE_LEVELS,
    TOP,
    GATE_TOP,
    GATE_WEIGHT,
    GATE_BIAS,
    GATE_COST,
    PROBE_WEIGHTS,
    PROBE_FIELDS,
) = range(17)
"""Fields of a probe, int64: address of the fields of the first layer's first rank block; address of
the job of a matrix that answers from there, 0 if the other layers do; address of what the outputs
of that layer begin with, in whole panels, and bytes from row to row; the same of the answers of
samples that go on; address of their numbers, and of their levels; numbers of an answer; levels; how
many probabilities the gate reads, and the address where they are put; addresses of its weight, bias
and cost; address of what the probe's answer counts beside that of each level, float32."""
