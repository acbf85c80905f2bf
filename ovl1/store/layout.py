"""Every path name of a Docker data-root, and nothing else: no file is touched here.

One `Layout` stands for one storage driver in one data-root; with user namespaces each
``<uid>.<gid>`` directory is a data-root of its own. Paths are built only from checked ids
(`ovl1.model`), so that no text from disk can lead outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovl1.model import ChainId, ContainerId, ImageId, LayerId

OVERLAY = "overlay"
OVERLAY2 = "overlay2"

ROOT, UPPER, WORK, MERGED, LOWER_ID = "root", "upper", "work", "merged", "lower-id"
TMPROOT = "tmproot"
DIFF, LINK, LOWER, COMMITTED, LINKS = "diff", "link", "lower", "committed", "l"

CACHE_ID, DIFF_ID, PARENT, SIZE, TAR_SPLIT = (
    "cache-id",
    "diff",
    "parent",
    "size",
    "tar-split.json.gz",
)
MOUNT_ID, INIT_ID = "mount-id", "init-id"
CONFIG, LEGACY_CONFIG = "config.v2.json", "config.json"
REMOVING = "-removing"
MIGRATION = ".ovl1"
"""Where a migration keeps what is neither old nor new store."""


@dataclass(frozen=True)
class Layout:
    """The paths of one driver's store; `data_root` holds no symbolic link (`Path.resolve`)."""

    data_root: Path
    driver: str

    # The driver's home: trees.

    @property
    def home(self) -> Path:
        """``overlay/`` or ``overlay2/``."""
        return self.data_root / self.driver

    @property
    def links(self) -> Path:
        """overlay2's ``l/``, with the short names of the layers."""
        return self.home / LINKS

    def layer(self, layer_id: LayerId) -> Path:
        """The directory of one layer."""
        return self.home / layer_id

    def root(self, layer_id: LayerId) -> Path:
        """overlay: the complete tree of an image layer."""
        return self.layer(layer_id) / ROOT

    def upper(self, layer_id: LayerId) -> Path:
        """overlay: what a container (or BuildKit) changed."""
        return self.layer(layer_id) / UPPER

    def lower_id(self, layer_id: LayerId) -> Path:
        """overlay: the file that names the image layer below ``upper``."""
        return self.layer(layer_id) / LOWER_ID

    def work(self, layer_id: LayerId) -> Path:
        """Both drivers: the kernel's scratch directory."""
        return self.layer(layer_id) / WORK

    def merged(self, layer_id: LayerId) -> Path:
        """Both drivers: the mount point."""
        return self.layer(layer_id) / MERGED

    def diff(self, layer_id: LayerId) -> Path:
        """overlay2: the layer's own entries."""
        return self.layer(layer_id) / DIFF

    def link(self, layer_id: LayerId) -> Path:
        """overlay2: the file that holds the layer's short name."""
        return self.layer(layer_id) / LINK

    def lower(self, layer_id: LayerId) -> Path:
        """overlay2: the file that lists the short names below, nearest first."""
        return self.layer(layer_id) / LOWER

    def committed(self, layer_id: LayerId) -> Path:
        """overlay2: the marker of a layer that has children."""
        return self.layer(layer_id) / COMMITTED

    # The metadata of layers and images.

    @property
    def image(self) -> Path:
        """``image/<driver>/``, all metadata of this driver."""
        return self.data_root / "image" / self.driver

    @property
    def layers(self) -> Path:
        """``layerdb/sha256/``, one directory for each image layer."""
        return self.image / "layerdb" / "sha256"

    @property
    def mounts(self) -> Path:
        """``layerdb/mounts/``, one directory for each container."""
        return self.image / "layerdb" / "mounts"

    @property
    def staging(self) -> Path:
        """``layerdb/tmp/``, records being written."""
        return self.image / "layerdb" / "tmp"

    def record(self, chain_id: ChainId) -> Path:
        """The metadata directory of one image layer."""
        return self.layers / chain_id.hex

    def tar_split(self, chain_id: ChainId) -> Path:
        """What is needed, beside the files, to write the layer's tar again."""
        return self.record(chain_id) / TAR_SPLIT

    def mount(self, container_id: ContainerId) -> Path:
        """The metadata directory of one container's layers."""
        return self.mounts / container_id

    @property
    def image_configs(self) -> Path:
        """``imagedb/content/sha256/``, one file for each image."""
        return self.image / "imagedb" / "content" / "sha256"

    @property
    def image_metadata(self) -> Path:
        """``imagedb/metadata/sha256/``, one directory for each locally built image."""
        return self.image / "imagedb" / "metadata" / "sha256"

    def image_config(self, image_id: ImageId) -> Path:
        """The configuration file of one image."""
        return self.image_configs / image_id.hex

    def image_metadatum(self, image_id: ImageId) -> Path:
        """The directory with ``parent`` and ``lastUpdated`` of one image."""
        return self.image_metadata / image_id.hex

    @property
    def repositories(self) -> Path:
        """``repositories.json``, names to images."""
        return self.image / "repositories.json"

    @property
    def distribution(self) -> Path:
        """``distribution/``, what was pulled from or pushed to where."""
        return self.image / "distribution"

    # Containers, shared by all drivers.

    @property
    def containers(self) -> Path:
        """``containers/``."""
        return self.data_root / "containers"

    def container(self, container_id: ContainerId) -> Path:
        """The directory of one container's files."""
        return self.containers / container_id

    def container_config(self, container_id: ContainerId) -> Path:
        """``config.v2.json`` of one container."""
        return self.container(container_id) / CONFIG

    # The form before Docker 1.10.

    @property
    def graph(self) -> Path:
        """``graph/``, images before 1.10."""
        return self.data_root / "graph"

    @property
    def legacy_repositories(self) -> Path:
        """``repositories-<driver>``, names before 1.10."""
        return self.data_root / f"repositories-{self.driver}"
