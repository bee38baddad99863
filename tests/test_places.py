"What names a place on this machine, and texts without it."
import pytest
from places import PLACES

from imgcap.places import (
    hub_id,
    is_path,
    last_part,
    public_address,
    public_ids,
    recorded,
    without_logins,
    without_paths,
)


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
        assert is_path(place) or (place == "secret/birds/" and not hub_id(place)), place
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


SECRETS = [
    ("https://ada:secret@example.org/photos.tar", "https://example.org/photos.tar"),
    ("https://ada:s@secret@example.org/a@b.tar", "https://example.org/a@b.tar"),
    ("https://example.org/photos.tar?token=secret&x=1", "https://example.org/photos.tar"),
    ("HTTPS://secret@example.org?sig=a/secret", "HTTPS://example.org"),
    ("s3://key:secret@bucket/a/b.csv#token=secret", "s3://bucket/a/b.csv"),
]


@pytest.mark.parametrize("address, public", SECRETS)
def test_addresses_tell_no_secret(address, public):
    assert public_address(address) == recorded(address) == public
    assert without_paths(address) == public and "secret" not in last_part(address)
    assert without_paths(f"cannot read '{address}', twice.") == f"cannot read '{public}', twice."
    assert list(public_ids([address, "7"]).values()) == [public, "7"]
    assert ":secret@" not in without_logins(f'{{"source": "{address}", "a": "b@c"}}')


def test_ids_that_were_addresses_differ():
    ids = [f"https://a.org/photo?id={i}" for i in range(3)] + ["https://a.org/photo"]
    names = public_ids(ids)
    assert len(set(names.values())) == 4 and not any("?" in name for name in names.values())
    assert all(name.startswith("https://a.org/photo") for name in names.values())


def test_the_name_of_an_older_record():
    assert without_paths("photos.tar?token=secret") == "photos.tar"
    assert without_paths("is it a cat? yes=1") == "is it a cat? yes=1"


def test_a_record_means_the_same_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "ada/birds").mkdir(parents=True)
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path)
    here, small, there = map(recorded, ("ada/birds", "ada/birds:small", "bob/birds"))
    monkeypatch.chdir(tmp_path / "away")
    for name in (here, small):
        assert hub_id(name) is None and is_path(name) and last_part(name).startswith("birds")
    assert hub_id(there) == "bob/birds" == recorded("bob/birds", here=False)
    for name in (None, "creatures", "/a/b", "./a/b", "a/b/c", "~/b"):
        assert recorded(name) == name
