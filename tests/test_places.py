"What names a place on this machine, and texts without it."
import pytest
from places import PLACES

from imgcap.places import hub_id, is_path, last_part, public_ids, without_paths


@pytest.mark.parametrize(
    "text, public",
    [
        (
            "[Errno 2] No such file or directory: '/home/ada/my pictures/7.png'",
            "[Errno 2] No such file or directory: '7.png'",
        ),
        ("/home/ada/my pictures/7.png: not a picture", "7.png: not a picture"),
        (r'cannot open "C:\My Pictures\7.png" (5)', 'cannot open "7.png" (5)'),
        ("a/b/c.png, ~/x/7.png; ../y/8.png and ./9.png", "c.png, 7.png; 8.png and 9.png"),
        ("file:///home/ada/7.png is broken", "7.png is broken"),
        (
            "black/white, 24/7, 1/2, n/a, and/or, image/jpeg, w/o",
            "black/white, 24/7, 1/2, n/a, and/or, image/jpeg, w/o",
        ),
        ("see https://example.org/a/b.png", "see https://example.org/a/b.png"),
        ("a red cat on the grass", "a red cat on the grass"),
        ("", ""),
    ],
)
def test_paths_in_sentences(text, public): assert without_paths(text) == public


def test_what_is_a_path():
    for place in PLACES:
        assert is_path(place) or place == "secret/birds/" and not hub_id(place), place
        assert "secret" not in last_part(place) or place.startswith("secret pictures")
    for name in (
        "creatures",
        "openmoji:zh",
        "owner/birds",
        "owner/birds:small",
        "https://example.org/x.tar",
        "hf://datasets/a/b",
    ):
        assert not is_path(name), name
    assert (
        hub_id("owner/birds:small") == "owner/birds"
        and not hub_id("birds")
        and not hub_id(None)
        and not hub_id("a/b/c")
    )
    assert [last_part(place) for place in ("~", "/", "..", "C:\\", "")] == [""] * 5


def test_public_ids_differ():
    ids = ["7", "a/7", "b/7", "/x/7.png", "/y/7.png", "z.png", "https://a.org/7.png"]
    names = public_ids(ids)
    assert len(set(names.values())) == len(ids) and names["7"] == "7" and names["z.png"] == "z.png"
    assert not any("/" in name for name in list(names.values())[:-1]) and names[ids[-1]] == ids[-1]
