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
    from gammabeta.lab.words import LANGUAGES, Words

    BENDS = {"sigmoid": digits.sigmoid, "tanh": np.tanh}
    return (
        BENDS,
        LANGUAGES,
        Live,
        Words,
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
def _(LANGUAGES, mo, widgets):
    _asked = mo.query_params().get("lang")
    language = mo.ui.radio(
        {name: key for key, name in LANGUAGES.items()},
        value=LANGUAGES.get(str(_asked), LANGUAGES["en"]),
        label="language, 언어",
        inline=True,
    )
    widgets.controls(language)
    return (language,)


@app.cell
def _(Words, language):
    say = Words(language.value)
    return (say,)


@app.cell
def _(mo, say):
    mo.md(say("introduction"))
    return


@app.cell
def _(mo, say):
    mo.md(say("chapter 1"))
    return


@app.cell
def _(datasets, mo, say, widgets):
    examples = datasets.examples()
    own = mo.ui.file(label=say("own file"), kind="button")
    outlier = mo.ui.slider(0, 100, 5, value=0, label=say("outlier"), show_value=True)
    choice = mo.ui.dropdown(
        {say(_key): _key for _key in examples}, value=say(next(iter(examples))), label=say("column")
    )
    widgets.controls(choice, own, outlier)
    return choice, examples, outlier, own


@app.cell
def _(datasets, gb, mo, own, say, widgets):
    _found, _problem = [], None
    if own.value:
        try:
            _found = datasets.names(own.name(), own.contents())
        except gb.GammabetaError as _error:
            _problem = widgets.problem(str(_error))
    own_name = mo.ui.dropdown(_found, value=_found[0] if _found else None, label=say("its column"))
    _problem if _problem else own_name if _found else None
    return (own_name,)


@app.cell
def _(choice, datasets, examples, gb, mo, own, own_name, say, widgets):
    try:
        if own_name.value:
            column = datasets.read(own.name(), own.contents(), own_name.value)
        else:
            column = examples[choice.value]._replace(title=say(f"{choice.value}, unit"))
    except gb.GammabetaError as _error:
        mo.stop(True, widgets.problem(str(_error)))
    return (column,)


@app.cell
def _(column, gb, kurtosis, mo, np, outlier, say, widgets, charts, skew):
    _m = gb.Moments.of(column.values)
    _far = [] if outlier.value == 0 else [float(_m.mean + outlier.value * _m.std)]
    _x = np.concatenate([column.values, _far])
    _ways = {
        "raw": _x,
        "standardized": gb.StandardScaler().fit_transform(_x[:, None])[:, 0],
        "min-max": gb.MinMaxScaler().fit_transform(_x[:, None])[:, 0],
    }
    _units = (column.title, say("standardized, unit"), say("min-max, unit"))
    _colours = (charts.GREY, charts.BLUE, charts.ORANGE)
    _rows = []
    for _name, _y in _ways.items():
        _s, _e = gb.Moments.of(_y), gb.Extrema.of(_y)
        _four = [float(v) for v in (_s.mean, _s.std, _e.min, _e.max)]
        _rows.append([say(_name), *_four, f"{skew(_y):.12f}", f"{kurtosis(_y):.12f}"])
    _others = gb.Extrema.of(_ways["min-max"][: len(column.values)])
    _kept = gb.Moments.of(_ways["standardized"][: len(column.values)])
    mo.vstack(
        [
            widgets.pictures(
                *(
                    charts.histogram(say, y, say(name), unit, colour)
                    for (name, y), unit, colour in zip(_ways.items(), _units, _colours, strict=True)
                )
            ),
            widgets.table(
                "scaled", ["", *(say(_key) for _key in ("mean", "std", "min", "max", "skewness", "kurtosis"))], _rows
            ),
            widgets.numbers(
                {
                    "used": (
                        say("used"),
                        f"{float(_others.max - _others.min):.1%}",
                    ),
                    "kept": (say("kept"), float(_kept.std)),
                }
            ),
        ]
    )
    return


@app.cell
def _(mo, say):
    mo.md(say("chapter 2"))
    return


@app.cell
def _(mo, say, widgets):
    scale_1 = mo.ui.slider(0.1, 3, 0.1, value=0.5, label=say("first map: times"), show_value=True)
    shift_1 = mo.ui.slider(-3, 3, 0.1, value=1, label=say("plus"), show_value=True)
    scale_2 = mo.ui.slider(0.1, 3, 0.1, value=2.5, label=say("second map: times"), show_value=True)
    shift_2 = mo.ui.slider(-3, 3, 0.1, value=-1, label=say("plus"), show_value=True)
    between = mo.ui.radio(
        {say(_key): _key for _key in ("nothing", "tanh", "exp")},
        value=say("nothing"),
        label=say("between"),
        inline=True,
    )
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
    say,
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
                    {say("after the first map"): (_x, _once), say("after both"): (_x, _twice)},
                    charts.axis("x", say("quantiles before")),
                    charts.axis("y", say("quantiles after")),
                    [charts.ORANGE, charts.BLUE],
                    height=300,
                )
            ),
            widgets.numbers(
                {
                    "straight": (say("straight"), float(linregress(_x, _twice).rvalue ** 2)),
                    "one-map": (
                        say("one map"),
                        widgets.line(_both),
                    ),
                    "apart": (
                        say("apart"),
                        float(np.abs(_both(_x) - _twice).max()),
                    ),
                }
            ),
        ]
    )
    return


@app.cell
def _(mo, say):
    mo.md(say("chapter 3"))
    return


@app.cell
def _(BENDS, mo, say, widgets):
    bend_3 = mo.ui.radio(
        {say(_key): _key for _key in BENDS}, value=say("sigmoid"), label=say("activation"), inline=True
    )
    depth_3 = mo.ui.slider(1, 20, value=6, label=say("layers in the stack"), show_value=True)
    widgets.controls(bend_3, depth_3)
    return bend_3, depth_3


@app.cell
def _(BENDS, gb, linregress, np, charts, say):
    def used_part(values, bend):
        """The picture of the part of an activation that values use, and R² of its best straight line."""
        x, wide = np.sort(values), np.linspace(-10, 10, 161)
        y = BENDS[bend](x)
        best = linregress(x, y)
        thin = x[np.linspace(0, len(x) - 1, min(len(x), 200)).astype(int)]
        line = best.slope * thin + best.intercept
        curve = wide, BENDS[bend](wide)
        chart = charts.used_part(say, curve, (thin, BENDS[bend](thin)), line, say(bend), say("activation's input"))
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
    say,
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
        say("without activation"): gb.Affine.standard(gb.Moments.of(_straight))(_straight),
        say("with activation", bend=say(bend_3.value)): gb.Affine.standard(gb.Moments.of(_bent))(_bent),
    }
    mo.vstack(
        [
            widgets.pictures(
                _chart,
                charts.lines(
                    {name: (_x, y) for name, y in _shown.items()},
                    charts.axis("x", say("stack's input")),
                    charts.axis("y", say("stack's output")),
                    [charts.BLUE, charts.RED],
                ),
            ),
            widgets.numbers(
                {
                    "r2": (say("r2 of activation", bend=say(bend_3.value)), f"{_r2:.5f}"),
                    "collapsed": (
                        say("layers as one map", n=depth_3.value),
                        widgets.line(_one),
                    ),
                    "layer-by-layer": (
                        say("layer by layer"),
                        float(np.abs(_one(_x) - _straight).max() / np.abs(_straight).max()),
                    ),
                    "spread-without": (say("spread without"), float(gb.Moments.of(_straight).std)),
                    "spread-with": (
                        say("spread with", bend=say(bend_3.value)),
                        float(gb.Moments.of(_bent).std),
                    ),
                }
            ),
        ]
    )
    return


@app.cell
def _(mo, say):
    mo.md(say("chapter 4"))
    return


@app.cell
def _(BENDS, mo, say, widgets):
    bend_4 = mo.ui.radio(
        {say(_key): _key for _key in BENDS}, value=say("sigmoid"), label=say("activation"), inline=True
    )
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
    say,
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
                _chart or mo.md(say("gamma is 0")),
                charts.two_histograms(
                    say,
                    BENDS[bend_4.value](_plain),
                    BENDS[bend_4.value](_y),
                    (say("plain standardization"), f"γ = {widgets.text(gamma.value)}, β = {widgets.text(beta.value)}"),
                    (_low, 1.0),
                    say("output of activation", bend=say(bend_4.value)),
                ),
            ),
            widgets.numbers(
                {
                    "r2-learned": (say("r2 of part"), f"{_r2:.5f}"),
                    "difference": (
                        say("difference"),
                        float(np.abs(_y - _plain).max()),
                    ),
                    "epsilon": (
                        say("epsilon"),
                        float(np.abs(_y - _batch).max()),
                    ),
                }
            ),
        ]
    )
    return


@app.cell
def _(mo, say):
    mo.md(say("chapter 5"))
    return


@app.cell
def _(mo, say, widgets):
    size = mo.ui.slider(steps=[2, 4, 8, 16, 32, 64, 128, 256, 512], value=16, label=say("batch size"), show_value=True)
    decay = mo.ui.slider(steps=[0, 0.5, 0.8, 0.9, 0.95, 0.99], value=0.9, label=say("decay"), show_value=True)
    statistic = mo.ui.radio(
        {say(_key): _key for _key in ("per position", "per channel")},
        value=say("per position"),
        label=say("statistic"),
        inline=True,
    )
    widgets.controls(size, decay, statistic)
    return decay, size, statistic


@app.cell
def _(batch_noise, statistic):
    per_channel = statistic.value == "per channel"
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
    say,
    size,
):
    _found = batch_noise.follow(per_channel, size.value, decay.value)
    _truth = float(gb.Moments.of(batch_noise.ink(per_channel), axis=(0, 1)).mean)
    _at = int(np.flatnonzero(size.value == batch_noise.SIZES)[0])
    _shown = gb.Moments.of(_found.in_training, axis=(0, 1, 2))
    mo.vstack(
        [
            widgets.pictures(
                charts.batches(say, _found.means, _found.running, _truth, say("mean ink")),
                charts.spreads(
                    say,
                    batch_noise.SIZES,
                    {say("mean, measured"): measured.mean, say("variance, measured"): measured.variance},
                    {say("mean, measured"): law.mean, say("variance, measured"): law.variance},
                    size.value,
                    say("std of batches"),
                ),
            ),
            widgets.numbers(
                {
                    "jitter": (say("jitter"), float(measured.mean[_at])),
                    "law": (say("law"), float(law.mean[_at])),
                    "batch": (
                        say("last batch"),
                        say("and", a=f"{abs(float(_shown.mean)):.4f}", b=f"{float(_shown.std):.4f}"),
                    ),
                    "gap": (
                        say("gap"),
                        float(np.abs(_found.in_training - _found.in_evaluation).max()),
                    ),
                }
            ),
        ]
    )
    return


@app.cell
def _(mo, say):
    mo.md(say("chapter 6"))
    return


@app.cell
def _(mo, say, widgets):
    depth = mo.ui.slider(2, 8, value=5, label=say("layers"), show_value=True)
    bend = mo.ui.radio(
        {say(_key): _key for _key in ("sigmoid", "relu")}, value=say("sigmoid"), label=say("activation"), inline=True
    )
    rate = mo.ui.radio({"0.1": 0.1, "0.3": 0.3, "1": 1.0}, value="0.3", label=say("learning rate"), inline=True)
    steps = mo.ui.slider(100, 1000, 100, value=300, label=say("steps"), show_value=True)
    train = mo.ui.run_button(label=say("train"))
    stop = mo.ui.run_button(label=say("stop"))
    mo.vstack([widgets.controls(depth, bend, rate, steps), widgets.controls(train, stop)])
    return bend, depth, rate, steps, stop, train


@app.cell
def _():
    trainings = []  # the one that runs, if any
    return (trainings,)


@app.cell
def _(Live, bend, depth, mo, say, widgets, rate, steps, threading, thread_pool, train, training_charts, trainings):
    mo.stop(not train.value and not trainings, mo.md(say("press train")))

    def _show(live):
        _label = say("progress", state=say(live.state), done=live.done, steps=live.steps)
        pages = [widgets.progress(live.done, live.steps, _label)]
        pages += [
            widgets.pictures(*row(say, live))
            for row in (training_charts.curves, training_charts.activations, training_charts.learned)
        ]
        last = {way: seen.accuracy[-1] for way, seen in live.seen.items()}
        pages += [
            widgets.numbers({f"held-out-{way}": (say("held out", way=say(way)), f"{a:.1%}") for way, a in last.items()})
        ]
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
    _show(trainings[0]) if trainings[0].done else mo.md(say("being made"))
    return


@app.cell
def _(stop, trainings):
    if stop.value and trainings:
        trainings[0].stop()
    return


@app.cell
def _(mo, say):
    mo.md(say("chapter 7"))
    return


@app.cell
def _(mo, say, widgets):
    mean_7 = mo.ui.slider(
        steps=[0, 1, 10, 100, 280, 1000, 2010, 8000, 10000, 100000, 1000000],
        value=2010,
        label=say("mean of the column"),
        show_value=True,
    )
    std_7 = mo.ui.slider(
        steps=[0.1, 0.3, 1, 2, 3, 10, 30, 100], value=3, label=say("its standard deviation"), show_value=True
    )
    load = mo.ui.button(value=0, on_click=lambda n: n + 1, label=say("load"))
    widgets.controls(mean_7, std_7, load)
    return load, mean_7, std_7


@app.cell
def _(load, mo, say, widgets, peers):
    absent = {name: say("not installed", names=", ".join(m)) for name in peers.NEEDS if (m := peers.lacking(name))}
    if load.value:
        with mo.status.spinner(say("loading")):
            _answered = peers.shared.errors(peers.column(0.0, 1.0))
        absent |= {n: say("no answer") for n in peers.NEEDS if n not in _answered and n not in absent}
    widgets.numbers(
        {
            "loaded": (
                say("loaded"),
                say("of", a=len(peers.NEEDS) - len(absent), b=len(peers.NEEDS)),
            )
        }
    )
    return (absent,)


@app.cell
def _(absent, gb, load, mean_7, mo, say, widgets, peers, charts, std_7):
    _x = peers.column(mean_7.value, std_7.value)
    _here = "gammabeta on NumPy"
    if load.value:
        _errors = {name: v for name, v in peers.shared.errors(_x).items() if name not in absent}
        _missing = absent
    else:
        _errors = {_here: peers.error(gb.batch_norm(_x, eps=peers.EPS), _x)}
        _missing = {name: absent.get(name, say("not loaded")) for name in peers.NEEDS if name != _here}
    _order = [name for name in peers.NEEDS if name in _errors]
    mo.vstack(
        [
            widgets.pictures(charts.disagreement(say, {name: _errors[name] for name in _order}, _missing, height=26)),
            widgets.numbers({f"error-{name}": (name, charts.plain(_errors[name])) for name in _order}),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
