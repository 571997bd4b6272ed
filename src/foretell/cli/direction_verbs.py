"""The verbs for directions: fit and evaluate one, draw activity surfaces, steer with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretell.cli.options import (
    FILE,
    FOLDER,
    GIVEN,
    errors_option,
    given_layers,
    given_numbers,
    hold_results,
    model_argument,
    model_options,
    opened_model,
    overwrite_option,
)
from foretell.errors import InputError
from foretell.storage.targets import check_file

if TYPE_CHECKING:
    from foretell.reading.models.load import Model

__all__ = ["direction", "steer", "surface"]

_COUNT = click.IntRange(min=0)


@click.command()
@model_argument
@click.option("--pairs", type=GIVEN, default=None, help="File of question, positive, negative, topic; default: facts.")
@errors_option
@click.option("--concept", default="lying", show_default=True, help="Higher activity is more of this concept.")
@click.option("--method", default="mean-difference", show_default=True)
@click.option("--instructed", is_flag=True, help="Pairs of the same statement under two system messages.")
@click.option("--positive-system", default=None, help="System message that asks for the concept; default: untruthful.")
@click.option("--negative-system", default=None, help="System message that asks for its opposite; default: honest.")
@click.option("--to", type=FILE, required=True, help="File for the direction, such as lying.safetensors.")
@click.option("--tables", type=FOLDER, default=None, help="Folder for all tables: controls, choice of layer, transfer.")
@overwrite_option
@model_options
def direction(model: str, pairs: Path | None, to: Path, tables: Path | None, overwrite: bool, **options: Any) -> None:
    """Fit a direction on contrast pairs, evaluate it on held-out topics, and save it.

    With --instructed the statements of the pairs are read under two system messages, and a second table shows the
    transfer between such directions and those of true and false answers.

    \b
    Examples:
      foretell direction smollm2 --to lying.safetensors
      foretell direction smollm2 --method logistic --to lying.safetensors --tables judged
      foretell direction smollm2 --pairs refusals.csv --concept refusal --to refusal.safetensors
      foretell direction smollm2 --instructed --to told-to-lie.safetensors
    """
    instructed, *systems = (options.pop(name) for name in ("instructed", "positive_system", "negative_system"))
    if any(systems) and not instructed:
        raise click.UsageError("'--positive-system' and '--negative-system' need '--instructed'.")
    check_file(to, overwrite=overwrite)
    if tables is not None:
        hold_results(tables, overwrite=overwrite)
    from foretell.stats.directions.estimators import method_named

    method_named(options["method"])
    from foretell.conversations.pairs import instructed_from, read_pairs
    from foretell.directions.fit_and_judge import (
        Controls,
        fact_pairs,
        fit_and_judge,
        judge_directions,
        transfer_between,
    )
    from foretell.showing.terminal import say, say_skipped, show_table
    from foretell.storage.export import write_results

    errors = options.pop("errors")
    read = None if pairs is None else read_pairs(pairs, errors=errors)
    say_skipped(() if read is None else read.skipped)
    stated = read or fact_pairs()
    contrasts = stated
    if instructed:
        contrasts = instructed_from(stated, positive_system=systems[0], negative_system=systems[1])
    loaded = opened_model(model, options)
    found: dict[str, Any] = {}
    moved = transfer_between(loaded, {"stated": stated, "instructed": contrasts}, **options) if instructed else None
    if tables is None:
        fitted, judged = fit_and_judge(loaded, contrasts, **options)
    else:
        method, controls = options.pop("method"), Controls(seed=options["seed"])
        evidence = judge_directions(loaded, contrasts, methods=(method,), controls=controls, **options)
        fitted, found = evidence.directions[method], evidence.tables
        judged = found["directions"]
        write_results(tables, found | ({} if moved is None else {"stated_and_instructed": moved}), {})
    fitted.save(to, overwrite=overwrite)
    columns = ["measure", "layer", "auc", "auc_lower", "auc_upper", "pair_accuracy"]
    show_table(f"{fitted.concept}: held-out topics", columns, judged.select(columns).rows())
    if moved is not None:
        columns = ["train", "judged", "layer", "auc", "auc_lower", "auc_upper", "pair_accuracy"]
        show_table(
            f"{fitted.concept}: transfer between stated and instructed pairs", columns, moved.select(columns).rows()
        )
    say(f"direction: {to}", style="green")


@click.command()
@model_argument
@click.option("--question", required=True)
@click.option("--answer", "answers", multiple=True, help="An answer; can be repeated.")
@click.option(
    "--generate", "n_answers", type=_COUNT, default=0, show_default=True, help="Number of answers to generate."
)
@click.option("--direction", "saved", type=GIVEN, default=None, help="A saved direction; default: fit on the facts.")
@click.option("--scale", type=click.Choice(["z", "raw", "cosine"]), default="z", show_default=True)
@click.option("--colour-blind", is_flag=True, help="Blue to red instead of green to red.")
@click.option("--band/--no-band", default=True, help="Draw the band of random directions.  [default: band]")
@click.option(
    "--layers",
    default=None,
    help="Comma-separated, for coloured text and means; default: chosen on held-out topics.",
)
@click.option("--to", type=FOLDER, required=True, help="Output folder for figures and tables.")
@overwrite_option
@model_options
def surface(
    model: str, question: str, answers: tuple[str, ...], n_answers: int, to: Path, overwrite: bool, **options: Any
) -> None:
    """Draw the activity of answers to one question by layer and token, on one scale.

    Without --direction, one is fitted on the built-in facts, and the page compares the answers with held-out true and
    false ones. For two answers the difference is drawn too, for three or more the mean. Blue sheets are the band of
    random directions on the same tokens. The answers are also shown as coloured text.

    \b
    Examples:
      foretell surface smollm2 --question "Who is Elon Musk?" --to surface \\
        --answer "A pastry chef from rural France." --answer "An entrepreneur born in South Africa."
      foretell surface smollm2 --question "Who was Napoleon?" --generate 8 --to surface
    """
    if not answers and n_answers < 1:
        raise click.UsageError("Missing option '--answer' or '--generate'.")
    if not all(answer.strip() for answer in answers):
        raise click.BadParameter("an answer has no words", param_hint="--answer")
    saved, scale, safe, band = (options.pop(name) for name in ("saved", "scale", "colour_blind", "band"))
    chosen = given_layers(options.pop("layers"))
    hold_results(to, overwrite=overwrite)
    import foretell

    known = None if saved is None else foretell.Direction.load(saved)
    from foretell.directions.fit_and_judge import companion_surfaces, with_held_out_comparison
    from foretell.directions.surface import generated_answers
    from foretell.showing.report import save_surface
    from foretell.showing.terminal import say

    loaded = opened_model(model, options)
    written = generated_answers(loaded, question, n_answers, seed=options["seed"]) if n_answers else []
    fitted, evidence = (known, None) if known else _fitted(loaded, foretell.fact_pairs(), options)
    layers = None if evidence is None else evidence.chosen_layers or None
    layers = layers if chosen is None else chosen
    titles = [f"answer {n}" for n in range(1, len(answers) + 1)] + [f"written {n + 1}" for n in range(len(written))]
    every = [*answers, *written]
    shown = foretell.surface(loaded, fitted, question, every, titles=titles, scale=scale, layers=layers)
    shown = shown if evidence is None else with_held_out_comparison(shown, evidence)
    colours: Any = "colour-blind-safe" if safe else "green-red"
    page = save_surface(
        shown,
        to,
        beside=companion_surfaces(shown),
        scale=colours,
        null_band=band,
        overwrite=overwrite,
        progress=options["progress"],
    )
    say(f"surface: {page}", style="green")


def _fitted(model: Model, pairs: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """Fit the mean difference on pairs, and choose its layers in nested cross-validation."""
    from foretell.directions.fit_and_judge import Controls, judge_directions

    controls = Controls(n_random=0, n_shuffled=0, n_folds=4, transfer=False, seed=options["seed"])
    judged = judge_directions(model, pairs, controls=controls, **options)
    return judged.directions["mean-difference"], judged.evidence["mean-difference"]


def _steered(model: Model, pairs: Any, layers: list[int] | None, options: dict[str, Any]) -> tuple[Any, Any]:
    """Return the direction of some pairs, and the layers to add it at: those given, else chosen by held-out topics."""
    import foretell

    if layers is not None:
        return foretell.fit_direction(model, pairs, **options), layers
    n_topics = len({pair.topic for pair in pairs})
    chosen = _fitted(model, pairs, options) if n_topics > 1 else None
    if chosen is None or not chosen[1].chosen_layers:
        raise InputError(
            f"the direction is fitted on half of the topics, here {n_topics}, and layers are chosen by topics held out "
            "from three or more, each with a direction: give '--layers', or pairs of six topics or more"
        )
    return chosen[0], chosen[1].chosen_layers


@click.command()
@model_argument
@click.option("--pairs", type=GIVEN, default=None, help="File of question, positive, negative, topic; default: facts.")
@click.option(
    "--direction", "saved", type=GIVEN, default=None, help="A saved direction; default: fit on half the topics."
)
@click.option(
    "--layers", default=None, help="Comma-separated; default: chosen on the topics the direction is fitted on."
)
@click.option(
    "--doses", default="-2,-1,1,2", show_default=True, help="In standard deviations, shared among the layers."
)
@click.option(
    "--random", "n_random", type=_COUNT, default=9, show_default=True, help="Number of random directions as controls."
)
@click.option("--to", type=FOLDER, required=True, help="Output folder for the figure and its table.")
@overwrite_option
@model_options
def steer(model: str, pairs: Path | None, saved: Path | None, to: Path, overwrite: bool, **options: Any) -> None:
    """Add a direction while MODEL reads true and false answers, and measure the shift of their log-odds.

    The answers are of topics that the direction was not fitted on. Adding any large vector makes a model less
    confident; the directed component, which changes sign with the dose, is specific to the direction.

    \b
    Examples:
      foretell steer smollm2 --to steering
      foretell steer smollm2 --direction lying.safetensors --pairs others.csv --layers 14,15,16 --to steering
    """
    layers, doses = given_layers(options.pop("layers")), given_numbers(options.pop("doses"), "doses")
    if saved is not None and layers is None:
        raise click.UsageError("A saved direction needs '--layers'.")
    hold_results(to, overwrite=overwrite)
    import foretell

    known = None if saved is None else foretell.Direction.load(saved)
    from foretell.directions.fit_and_judge import split_topics
    from foretell.showing.report import save_table
    from foretell.showing.terminal import say, show_table

    n_random = options.pop("n_random")
    contrasts = foretell.fact_pairs() if pairs is None else foretell.read_pairs(pairs)
    loaded = opened_model(model, options)
    if known is None:
        training, contrasts = split_topics(contrasts)
        known, layers = _steered(loaded, training, layers, options)
    curve = foretell.steer(loaded, known, contrasts, layers=layers or (), doses=doses, n_random=n_random, **options)
    columns = ["kind", "dose", "shift", "shift_lower", "shift_upper", "directed", "directed_lower", "directed_upper"]
    show_table(f"{known.concept}: shift of log-odds", columns, curve.select(columns).rows())
    page = save_table(curve, to, model=loaded.name, overwrite=overwrite, progress=options["progress"], kind="steering")
    say(f"steering: {page}", style="green")
