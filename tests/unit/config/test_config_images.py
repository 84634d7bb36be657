import pytest
from hydra import compose, initialize_config_dir

from qatexp.cli.compose import VERSION_BASE
from qatexp.cli.resolvers import register_resolvers
from qatexp.config.images import check_images
from qatexp.config.schema import DatasetConfig
from qatexp.config.sources import CONF, CONFIG_NAME
from qatexp.errors import ConfigError


@pytest.mark.parametrize(
    ("image_size", "resize_size"),
    [("224", 256), ("32", 37), ("300", 343), ("null", None)],
    ids=["usual", "small", "large", "as they are"],
)
def test_an_image_folder_is_resized_in_proportion_to_its_crop(image_size, resize_size):
    """Fixed at 256, a crop of 32 saw one part in 64 of an image, and one of 300 none."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        chosen = ["dataset=imagefolder", f"dataset.image_size={image_size}"]
        composed = compose(CONFIG_NAME, overrides=chosen)
    assert composed.dataset.resize_size == resize_size


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"resize_size": 10}, r"^dataset\.resize_size=10 needs dataset\.image_size"),
        (
            {"resize_size": 7, "image_size": 8},
            r"^dataset\.resize_size=7 is smaller than dataset\.image_size=8",
        ),
    ],
    ids=["alone", "small"],
)
def test_sizes_that_do_not_fit_are_refused(keys, text):
    with pytest.raises(ConfigError, match=text):
        check_images(DatasetConfig("a.b", **keys))


def test_a_resize_to_the_size_of_the_crop_is_fine():
    check_images(DatasetConfig("a.b", image_size=8, resize_size=8))
