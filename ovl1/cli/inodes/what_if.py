"""``ovl1 inodes free``, ``predict`` and ``forecast``: what would be."""

from __future__ import annotations

import inspect
from typing import Optional, Tuple

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option, phases
from ovl1.cli.files import STDOUT
from ovl1.cli.inodes.archives import coming, opened
from ovl1.cli.inodes.going import chosen
from ovl1.cli.inodes.what_if_tables import show_forecast, show_freeing, show_prediction
from ovl1.cli.inodes.what_if_values import (
    FORECAST,
    FREE,
    PREDICT,
    described,
    forecast_values,
    freeing_values,
    prediction_values,
)
from ovl1.cli.limits import limits
from ovl1.errors import WrongUsage
from ovl1.images.load import read_images
from ovl1.images.ocilayout import Platform
from ovl1.inodes import predict as predicting
from ovl1.inodes.forecast import Forecaster, store_inodes
from ovl1.inodes.free import count
from ovl1.inodes.lineage import LAYOUTS
from ovl1.layer.policy import Policy
from ovl1.store.discovery import discover


@click.command(
    short_help="What removing images, containers or layers would free.",
    epilog=examples(
        "ovl1 inodes free app:1",
        "ovl1 inodes free app:1 app:2 old-container",
        "ovl1 inodes free --type layer 3f2a91",
    ),
)
@click.argument("targets", metavar="IMAGE|CONTAINER|LAYER...", nargs=-1, required=True)
@click.option(
    "--type",
    "kind",
    type=click.Choice(["image", "container", "layer"]),
    help="What the targets are.  [default: whichever there is, in this order]",
)
@click.option("--force", is_flag=True, help="As for `ovl1 image rm --force`.")
@json_option
@click.pass_obj
def free(context: Context, *, targets: Tuple[str, ...], kind: Optional[str], force: bool) -> None:
    """Tell how many inodes and bytes removing these TOGETHER would free; nothing is changed.

    An IMAGE goes as `ovl1 image rm` and `docker rmi` remove it: with a name, only that name, unless
    it is the last one. A CONTAINER goes as with `docker rm`, a LAYER as with `ovl1 layer rm
    --force`. A file that layers share comes free when its last name goes, so several removed
    together can free more than each by itself.
    """
    store = context.store()
    choice = chosen(store, targets, kind, force=force)
    with phases(context) as progress:
        freeing = count(store, choice.going, progress=progress)
    if not context.quiet:
        for remark in choice.remarks:
            output.remark(remark)
    if context.as_json:
        output.print_json(freeing_values(choice.going, freeing))
    else:
        show_freeing(choice.going, freeing)


@click.command(
    short_help="What the same store would take in other layouts.",
    epilog=examples(
        "ovl1 inodes predict",
        "ovl1 inodes predict --layout overlay2 --json",
        "ovl1 --data-root /mnt/old/var/lib/docker inodes predict",
    ),
)
@click.option(
    "--layout",
    "layouts",
    multiple=True,
    type=click.Choice(predicting.LAYOUTS),
    help="Only this layout; may be given several times.",
)
@json_option
@click.pass_obj
def predict(context: Context, *, layouts: Tuple[str, ...]) -> None:
    """Tell what the same store would take in other layouts.

    The store as it is has been counted. A v1 store as overlay2 is what `ovl1 migrate` makes of it,
    purged. All else follows from the records of the layers' tars and from what the containers have
    changed. An image's figures are those of all its layers, as if it had them to itself; FACTOR is
    how many times as many inodes it takes in Docker's overlay as in overlay2.
    """
    store = context.store()
    with phases(context) as progress:
        made = predicting.predict(store, layouts or predicting.LAYOUTS, progress=progress)
    if context.as_json:
        output.print_json(prediction_values(made))
    else:
        show_prediction(made)


@click.command(
    short_help="What loading archives would add, without loading them.",
    epilog=examples(
        "ovl1 inodes forecast app.tar",
        "ovl1 inodes forecast base.tar.gz app.tar.gz --layout overlay --layout overlay2",
        "docker save app:1 | ovl1 --data-root /mnt/old inodes forecast -",
        "ovl1 inodes forecast --empty app.tar --json",
    ),
)
@click.argument("files", metavar="FILE|DIR|-...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--layout",
    "layouts",
    multiple=True,
    type=click.Choice(LAYOUTS),
    help="Only this layout; may be given several times.",
)
@click.option("--empty", is_flag=True, help="As if there were an empty store.")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="As for `ovl1 image load`.")
@limits
@json_option
@click.pass_obj
def forecast(
    context: Context,
    *,
    files: Tuple[str, ...],
    layouts: Tuple[str, ...],
    empty: bool,
    platform: Optional[str],
    policy: Policy,
) -> None:
    """Tell what loading archives of images would add to the store, one after the other.

    Takes what `ovl1 image load` takes (- is standard input), and loads nothing. Layers that the
    store has, or that an earlier image of these brings, add nothing. Only one layout is the
    store's; the others say what the same would add there.
    """
    if files.count(STDOUT) > 1:
        raise WrongUsage("standard input can be read only once")
    wanted = Platform.parse(platform) if platform else Platform.of_this_machine()
    layout = context.layout()
    missing = discover(layout.data_root).store(layout.driver) is None
    forecaster = Forecaster(None if empty or missing else context.store(), layouts or LAYOUTS)
    for name in files:
        with opened(name, policy) as blobs, phases(context) as progress:
            found = coming(blobs, read_images(blobs, wanted, max_bytes=policy.max_bytes), policy)
            for number, image in enumerate(found):
                progress("reading images", number, len(found))
                forecaster.add(image)
    made = forecaster.forecast
    if missing and not empty:
        made.store = store_inodes(layout)
    if context.as_json:
        output.print_json(forecast_values(made))
    else:
        show_forecast(made)


for _command, _keys in ((free, FREE), (predict, PREDICT), (forecast, FORECAST)):
    _command.help = f"{inspect.cleandoc(_command.help or '')}\n\n{described(_keys)}"
