"""The lab's page, a marimo file: seven claims about normalization, each computed by gammabeta before one's eyes.

gammabeta lab                     # serve it
marimo edit app.py                # read it, change it
python app.py                     # run it as a script
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="gammabeta lab", css_file="lab.css")


@app.cell
def _():
    import threading
    from functools import reduce

    import marimo as mo
    import numpy as np
    from scipy.stats import kurtosis, linregress, skew

    import gammabeta as gb
    from gammabeta.kernels import thread_pool
    from gammabeta.lab import batch_noise, charts, datasets, digits, peers, training_charts, widgets
    from gammabeta.lab.live_training import Live

    BENDS = {"sigmoid": digits.sigmoid, "tanh": np.tanh}
    return (
        BENDS,
        Live,
        datasets,
        gb,
        batch_noise,
        kurtosis,
        linregress,
        mo,
        np,
        widgets,
        peers,
        charts,
        reduce,
        skew,
        threading,
        thread_pool,
        training_charts,
    )


@app.cell
def _(mo):
    mo.md(r"""
    # Normalization, seen

    **Every normalization is a statistic followed by an affine map:**
    $\;y = \gamma \cdot \dfrac{x - \text{center}}{\text{scale}} + \beta$

    Standardization takes the mean and the standard deviation; min-max normalization the minimum and the range; batch
    normalization the mean and the standard deviation of a mini-batch, and it *learns* γ and β. Seven chapters show
    what follows from that. Nothing here is a drawing: this machine computes every number when you move a slider.
    """)
    return


@app.cell
def _(mo):
    mo.md("""
    ## 1. Two ways to rescale

    **Standardization and min-max normalization change the axis, not the shape.** Skewness and kurtosis, which describe
    the shape, stay equal to the last digits. Add an outlier: one value now sets min-max's range and squeezes all others
    into a corner of it; a standard deviation, to which all values add, is moved less.
    """)
    return


@app.cell
def _(datasets, mo, widgets):
    examples = datasets.examples()
    own = mo.ui.file(label="or a file of yours: .csv, .parquet, …", kind="button")
    outlier = mo.ui.slider(0, 100, 5, value=0, label="outlier, in standard deviations", show_value=True)
    choice = mo.ui.dropdown(list(examples), value=next(iter(examples)), label="column")
    widgets.controls(choice, own, outlier)
    return choice, examples, outlier, own


@app.cell
def _(datasets, gb, mo, own, widgets):
    _found, _problem = [], None
    if own.value:
        try:
            _found = datasets.names(own.name(), own.contents())
        except gb.GammabetaError as _error:
            _problem = widgets.problem(str(_error))
    own_name = mo.ui.dropdown(_found, value=_found[0] if _found else None, label="its column")
    _problem if _problem else own_name if _found else None
    return (own_name,)


@app.cell
def _(choice, datasets, examples, gb, mo, own, own_name, widgets):
    try:
        column = datasets.read(own.name(), own.contents(), own_name.value) if own_name.value else examples[choice.value]
    except gb.GammabetaError as _error:
        mo.stop(True, widgets.problem(str(_error)))
    return (column,)


@app.cell
def _(column, gb, kurtosis, mo, np, outlier, widgets, charts, skew):
    _m = gb.Moments.of(column.values)
    _far = [] if outlier.value == 0 else [float(_m.mean + outlier.value * _m.std)]
    _x = np.concatenate([column.values, _far])
    _ways = {
        "raw": _x,
        "standardized": gb.StandardScaler().fit_transform(_x[:, None])[:, 0],
        "min-max": gb.MinMaxScaler().fit_transform(_x[:, None])[:, 0],
    }
    _units = (column.title, "(x − mean) / std, no unit", "(x − min) / (max − min), no unit")
    _colours = (charts.GREY, charts.BLUE, charts.ORANGE)
    _rows = []
    for _name, _y in _ways.items():
        _s, _e = gb.Moments.of(_y), gb.Extrema.of(_y)
        _four = [float(v) for v in (_s.mean, _s.std, _e.min, _e.max)]
        _rows.append([_name, *_four, f"{skew(_y):.12f}", f"{kurtosis(_y):.12f}"])
    _others = gb.Extrema.of(_ways["min-max"][: len(column.values)])
    _kept = gb.Moments.of(_ways["standardized"][: len(column.values)])
    mo.vstack(
        [
            widgets.pictures(
                *(
                    charts.histogram(y, name, unit, colour)
                    for (name, y), unit, colour in zip(_ways.items(), _units, _colours, strict=True)
                )
            ),
            widgets.table("scaled", ["", "mean", "std", "min", "max", "skewness", "excess kurtosis"], _rows),
            widgets.numbers(
                {
                    "used": (
                        "part of min-max's range that the column itself takes, without the outlier",
                        f"{float(_others.max - _others.min):.1%}",
                    ),
                    "kept": ("std of the column itself, standardized with the outlier", float(_kept.std)),
                }
            ),
        ]
    )
    return


@app.cell
def _(mo):
    mo.md("""
    ## 2. The shape does not change

    **Plot the quantiles of the mapped column against those of the column itself: for an affine map they lie on a
    straight line.** Two affine maps, one after the other, are one affine map again, so the line stays straight.
    Something that is not affine between the two bends it.
    """)
    return


@app.cell
def _(mo, widgets):
    scale_1 = mo.ui.slider(0.1, 3, 0.1, value=0.5, label="first map: times", show_value=True)
    shift_1 = mo.ui.slider(-3, 3, 0.1, value=1, label="plus", show_value=True)
    scale_2 = mo.ui.slider(0.1, 3, 0.1, value=2.5, label="second map: times", show_value=True)
    shift_2 = mo.ui.slider(-3, 3, 0.1, value=-1, label="plus", show_value=True)
    between = mo.ui.radio(["nothing", "tanh", "exp"], value="nothing", label="between the two", inline=True)
    widgets.controls(scale_1, shift_1, scale_2, shift_2, between)
    return between, scale_1, scale_2, shift_1, shift_2


@app.cell
def _(
    between,
    column,
    gb,
    linregress,
    mo,
    np,
    widgets,
    charts,
    scale_1,
    scale_2,
    shift_1,
    shift_2,
):
    _x = np.quantile(gb.Affine.standard(gb.Moments.of(column.values))(column.values), np.linspace(0, 1, 101))
    _first = gb.Affine(center=0.0, slope=scale_1.value, shift=shift_1.value)
    _second = gb.Affine(center=0.0, slope=scale_2.value, shift=shift_2.value)
    _both = _first.then(_second)
    _bend = {"nothing": lambda y: y, "tanh": np.tanh, "exp": np.exp}[between.value]
    _once, _twice = _first(_x), _second(_bend(_first(_x)))
    mo.vstack(
        [
            widgets.pictures(
                charts.lines(
                    {"after the first map": (_x, _once), "after both": (_x, _twice)},
                    charts.axis("x", "quantiles of the standardized column, no unit"),
                    charts.axis("y", "quantiles after the maps, no unit"),
                    [charts.ORANGE, charts.BLUE],
                    height=300,
                )
            ),
            widgets.numbers(
                {
                    "straight": ("R² of the best straight line, after both", float(linregress(_x, _twice).rvalue ** 2)),
                    "one-map": (
                        "first.then(second), as one map",
                        widgets.line(_both),
                    ),
                    "apart": (
                        "largest difference between the one map and the picture",
                        float(np.abs(_both(_x) - _twice).max()),
                    ),
                }
            ),
        ]
    )
    return


@app.cell
def _(mo):
    mo.md("""
    ## 3. What normalizing takes away

    **Standardized values sit in the middle of sigmoid and tanh, where these are almost straight.** R² says how near to
    a straight line the part in use is: 1 is a line. And layers without a bend collapse: any number of affine maps is
    one affine map, however deep the stack. So a network that is normalized into the straight part loses what depth is
    for.
    """)
    return


@app.cell
def _(BENDS, mo, widgets):
    bend_3 = mo.ui.radio(list(BENDS), value="sigmoid", label="activation", inline=True)
    depth_3 = mo.ui.slider(1, 20, value=6, label="layers in the stack", show_value=True)
    widgets.controls(bend_3, depth_3)
    return bend_3, depth_3


@app.cell
def _(BENDS, gb, linregress, np, charts):
    def used_part(values, bend):
        """The picture of the part of an activation that values use, and R² of its best straight line."""
        x, wide = np.sort(values), np.linspace(-10, 10, 161)
        y = BENDS[bend](x)
        best = linregress(x, y)
        thin = x[np.linspace(0, len(x) - 1, min(len(x), 200)).astype(int)]
        line = best.slope * thin + best.intercept
        curve = wide, BENDS[bend](wide)
        chart = charts.used_part(curve, (thin, BENDS[bend](thin)), line, bend, "input of the activation, no unit")
        return chart, float(best.rvalue**2)

    def stack(depth):
        """Layers of one weight and one bias each."""
        rng = np.random.default_rng(5)
        return [gb.Affine(0.0, rng.uniform(1.2, 2.5), rng.normal()) for _ in range(depth)]

    return stack, used_part


@app.cell
def _(
    BENDS,
    bend_3,
    column,
    depth_3,
    gb,
    mo,
    np,
    widgets,
    charts,
    reduce,
    stack,
    used_part,
):
    _standard = gb.Affine.standard(gb.Moments.of(column.values))
    _chart, _r2 = used_part(_standard(column.values), bend_3.value)
    _x = np.linspace(-3, 3, 121)
    _layers = stack(depth_3.value)
    _one = reduce(gb.Affine.then, _layers)
    _straight, _bent = _x, _x
    for _layer in _layers:
        _straight, _bent = _layer(_straight), BENDS[bend_3.value](_layer(_bent))
    _shown = {
        "without activation": gb.Affine.standard(gb.Moments.of(_straight))(_straight),
        f"with {bend_3.value} after each": gb.Affine.standard(gb.Moments.of(_bent))(_bent),
    }
    mo.vstack(
        [
            widgets.pictures(
                _chart,
                charts.lines(
                    {name: (_x, y) for name, y in _shown.items()},
                    charts.axis("x", "input of the stack, no unit"),
                    charts.axis("y", "its output, standardized"),
                    [charts.BLUE, charts.RED],
                ),
            ),
            widgets.numbers(
                {
                    "r2": (f"R² of the best line through the part of {bend_3.value} in use", f"{_r2:.5f}"),
                    "collapsed": (
                        f"{depth_3.value} layers without activation, as one map",
                        widgets.line(_one),
                    ),
                    "layer-by-layer": (
                        "largest difference from going layer by layer, of the largest output",
                        float(np.abs(_one(_x) - _straight).max() / np.abs(_straight).max()),
                    ),
                }
            ),
        ]
    )
    return


@app.cell
def _(mo):
    mo.md("""
    ## 4. What γ and β give back

    **After standardizing, γ stretches the values and β moves them: into the bent part of the activation, as far as the
    network wants.** With γ = 1 and β = 0 it is standardization: without ε the difference is 0, not just small. With
    ε, as in batch normalization, that holds where the variance is much larger than ε.
    Watch R² fall as the part in use moves into the bend.
    """)
    return


@app.cell
def _(BENDS, mo, widgets):
    bend_4 = mo.ui.radio(list(BENDS), value="sigmoid", label="activation", inline=True)
    gamma = mo.ui.slider(0, 6, 0.1, value=1, label="γ", show_value=True)
    beta = mo.ui.slider(-6, 6, 0.1, value=0, label="β", show_value=True)
    widgets.controls(bend_4, gamma, beta)
    return bend_4, beta, gamma


@app.cell
def _(
    BENDS,
    bend_4,
    beta,
    column,
    gamma,
    gb,
    mo,
    np,
    widgets,
    charts,
    used_part,
):
    _plain = gb.StandardScaler().fit_transform(column.values[:, None])[:, 0]
    _map = gb.Affine.standard(gb.Moments.of(column.values)).then(gb.Affine(0.0, gamma.value, beta.value))
    _y = _map(column.values)
    _chart, _r2 = used_part(_y, bend_4.value) if gamma.value else (None, float("nan"))
    _low = -1.0 if bend_4.value == "tanh" else 0.0
    _batch = gb.batch_norm(column.values, gamma.value, beta.value)
    mo.vstack(
        [
            widgets.pictures(
                _chart or mo.md("γ = 0: every value is β, and nothing of the column is left."),
                charts.two_histograms(
                    BENDS[bend_4.value](_plain),
                    BENDS[bend_4.value](_y),
                    ("plain standardization", f"γ = {widgets.text(gamma.value)}, β = {widgets.text(beta.value)}"),
                    (_low, 1.0),
                    f"output of {bend_4.value}, no unit",
                ),
            ),
            widgets.numbers(
                {
                    "r2-learned": ("R² of the best line through the part in use", f"{_r2:.5f}"),
                    "difference": (
                        "largest difference from plain standardization",
                        float(np.abs(_y - _plain).max()),
                    ),
                    "epsilon": (
                        "largest difference from gb.batch_norm, which adds ε = 1e−5 to the variance",
                        float(np.abs(_y - _batch).max()),
                    ),
                }
            ),
        ]
    )
    return


@app.cell
def _(mo):
    mo.md(r"""
    ## 5. The mini-batch

    **In training, mean and variance are those of a mini-batch, and so they jitter: as $1/\sqrt{n}$ where $n$ is its
    size.** Four times as many pictures halve the jitter. For evaluation the layer keeps running statistics, which
    follow slowly; that is why the same pictures give slightly different outputs in training and in evaluation.
    *Per position* takes a statistic for every pixel (the note's `axis=0`), *per channel* one for all pixels together.
    """)
    return


@app.cell
def _(mo, widgets):
    size = mo.ui.slider(
        steps=[2, 4, 8, 16, 32, 64, 128, 256, 512], value=16, label="pictures in a mini-batch", show_value=True
    )
    decay = mo.ui.slider(
        steps=[0, 0.5, 0.8, 0.9, 0.95, 0.99], value=0.9, label="decay of the running mean", show_value=True
    )
    statistic = mo.ui.radio(
        ["per position (one pixel of each digit)", "per channel (all 64 pixels)"],
        value="per position (one pixel of each digit)",
        label="statistic",
        inline=True,
    )
    widgets.controls(size, decay, statistic)
    return decay, size, statistic


@app.cell
def _(batch_noise, statistic):
    per_channel = statistic.value.startswith("per channel")
    measured, law = batch_noise.measured(per_channel), batch_noise.law(per_channel)
    return law, measured, per_channel


@app.cell
def _(
    decay,
    gb,
    batch_noise,
    law,
    measured,
    mo,
    np,
    widgets,
    per_channel,
    charts,
    size,
):
    _found = batch_noise.follow(per_channel, size.value, decay.value)
    _truth = float(gb.Moments.of(batch_noise.ink(per_channel), axis=(0, 1)).mean)
    _at = int(np.flatnonzero(size.value == batch_noise.SIZES)[0])
    _shown = gb.Moments.of(_found.in_training, axis=(0, 1, 2))
    mo.vstack(
        [
            widgets.pictures(
                charts.batches(_found.means, _found.running, _truth, "mean ink, from 0 to 16"),
                charts.spreads(
                    batch_noise.SIZES,
                    {"mean, measured": measured.mean, "variance, measured": measured.variance},
                    {"mean, measured": law.mean, "variance, measured": law.variance},
                    size.value,
                    "std from batch to batch, ink",
                ),
            ),
            widgets.numbers(
                {
                    "jitter": ("jitter of the mean, measured on 200 mini-batches", float(measured.mean[_at])),
                    "law": ("what 1/√n says (the lines)", float(law.mean[_at])),
                    "batch": (
                        "the last mini-batch, normalized: mean and std",
                        f"{abs(float(_shown.mean)):.4f} and {float(_shown.std):.4f}",
                    ),
                    "gap": (
                        "largest difference of y between training and evaluation",
                        float(np.abs(_found.in_training - _found.in_evaluation).max()),
                    ),
                }
            ),
        ]
    )
    return


@app.cell
def _(mo):
    mo.md("""
    ## 6. Learning γ and β

    **γ and β are weights: backpropagation moves them.** Three networks learn to read digits side by side: without a
    norm, with batch norm, and with batch norm whose γ and β stay 1 and 0. Without a norm a deep stack of sigmoids does
    not even start; on a task as small as this, frozen γ and β do nearly as well as learned ones, but for the loss.
    """)
    return


@app.cell
def _(mo, widgets):
    depth = mo.ui.slider(2, 8, value=5, label="layers", show_value=True)
    bend = mo.ui.radio(["sigmoid", "relu"], value="sigmoid", label="activation", inline=True)
    rate = mo.ui.radio({"0.1": 0.1, "0.3": 0.3, "1": 1.0}, value="0.3", label="learning rate", inline=True)
    steps = mo.ui.slider(100, 1000, 100, value=300, label="steps of 60 pictures", show_value=True)
    train = mo.ui.run_button(label="Train, from the start")
    stop = mo.ui.run_button(label="Stop")
    mo.vstack([widgets.controls(depth, bend, rate, steps), widgets.controls(train, stop)])
    return bend, depth, rate, steps, stop, train


@app.cell
def _():
    trainings = []  # the one that runs, if any
    return (trainings,)


@app.cell
def _(Live, bend, depth, mo, widgets, rate, steps, threading, thread_pool, train, training_charts, trainings):
    mo.stop(not train.value and not trainings, mo.md("*Press “Train, from the start”.*"))

    def _show(live):
        pages = [widgets.progress(live.done, live.steps, live.state)]
        pages += [
            widgets.pictures(*row(live))
            for row in (training_charts.curves, training_charts.activations, training_charts.learned)
        ]
        last = {way: seen.accuracy[-1] for way, seen in live.seen.items()}
        pages += [widgets.numbers({f"held-out-{way}": (f"held out, {way}", f"{a:.1%}") for way, a in last.items()})]
        return mo.vstack(pages)

    def _work(live):
        for _ in live.run():
            if getattr(threading.current_thread(), "should_exit", False):  # only a thread of marimo's has it
                live.stop()
            else:
                mo.output.replace(_show(live))

    if train.value:
        while trainings:
            trainings.pop().stop()
        trainings.append(Live(depth.value, bend.value, rate.value, steps.value))
        if not thread_pool.started(mo.Thread(target=_work, args=(trainings[0],), daemon=True)):
            _work(trainings[0])
    _show(trainings[0]) if trainings[0].done else mo.md("*The networks are being made …*")
    return


@app.cell
def _(stop, trainings):
    if stop.value and trainings:
        trainings[0].stop()
    return


@app.cell
def _(mo):
    mo.md("""
    ## 7. The same numbers?

    **The same formula, the same column of 1,024 float32 numbers, and the frameworks do not agree.** Some compute the
    variance as mean(x²) − mean(x)², where two large numbers that are nearly equal cancel: a column like a year or an
    altitude loses its digits, or all of them. gammabeta subtracts the mean first, in every framework. The error is
    measured against the exact mean and variance.
    """)
    return


@app.cell
def _(mo, widgets):
    mean_7 = mo.ui.slider(
        steps=[0, 1, 10, 100, 280, 1000, 2010, 8000, 10000, 100000, 1000000],
        value=2010,
        label="mean of the column",
        show_value=True,
    )
    std_7 = mo.ui.slider(
        steps=[0.1, 0.3, 1, 2, 3, 10, 30, 100], value=3, label="its standard deviation", show_value=True
    )
    load = mo.ui.button(value=0, on_click=lambda n: n + 1, label="Load the installed frameworks")
    widgets.controls(mean_7, std_7, load)
    return load, mean_7, std_7


@app.cell
def _(load, mo, widgets, peers):
    absent = {name: f"not installed: {', '.join(m)}" for name in peers.NEEDS if (m := peers.lacking(name))}
    if load.value:
        with mo.status.spinner("The frameworks are loading, each in a process of its own …"):
            _answered = peers.shared.errors(peers.column(0.0, 1.0))
        absent |= {n: "did not answer" for n in peers.NEEDS if n not in _answered and n not in absent}
    widgets.numbers(
        {
            "loaded": (
                "layers that can run here (loading them takes up to half a minute)",
                f"{len(peers.NEEDS) - len(absent)} of {len(peers.NEEDS)}",
            )
        }
    )
    return (absent,)


@app.cell
def _(absent, gb, load, mean_7, mo, widgets, peers, charts, std_7):
    _x = peers.column(mean_7.value, std_7.value)
    _here = "gammabeta on NumPy"
    if load.value:
        _errors = {name: v for name, v in peers.shared.errors(_x).items() if name not in absent}
        _missing = absent
    else:
        _errors = {_here: peers.error(gb.batch_norm(_x, eps=peers.EPS), _x)}
        _missing = {name: absent.get(name, "not loaded yet") for name in peers.NEEDS if name != _here}
    _order = [name for name in peers.NEEDS if name in _errors]
    mo.vstack(
        [
            widgets.pictures(charts.disagreement({name: _errors[name] for name in _order}, _missing, height=26)),
            widgets.numbers({f"error-{name}": (name, charts.plain(_errors[name])) for name in _order}),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
