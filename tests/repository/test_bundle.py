"""Bundles: the same bytes for the same models, and nothing taken from one that is not exactly what its header says."""

import hashlib
import io
import tarfile

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from entries import stage

from ingrain.errors import BundleError, NewerFormatError, SettingsError
from ingrain.repository.bundle.reader import read_bundle
from ingrain.repository.bundle.unpack import unpack
from ingrain.repository.bundle.writer import write_bundle
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository

KEY = model_key("org/model", "sentence_transformers")


@pytest.fixture
def repository(tmp_path) -> Repository:
    repository = Repository(tmp_path / "repository")
    repository.prepare()
    for name, weights in (("org/model", b"weights"), ("org/other", bytes(2_000_000))):
        with repository.staging() as folder:
            stage(folder, name, weights)
            repository.publish(folder)
    return repository


@pytest.fixture
def file(repository, tmp_path):
    write_bundle(repository, repository.entries(), tmp_path / "models.bundle")
    return tmp_path / "models.bundle"


@pytest.fixture
def keys(tmp_path):
    """The paths of a private key, of its public key and of another public key."""
    paths = [tmp_path / name for name in ("private.pem", "public.pem", "other.pem")]
    key = Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[0].write_bytes(key.private_bytes(pem, *plain))
    for path, one in zip(paths[1:], (key, Ed25519PrivateKey.generate()), strict=True):
        path.write_bytes(one.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return paths


def members_of(file):
    with tarfile.open(file) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]


def rewrite(file, change) -> None:
    """Write a bundle again, with its members changed by a function of their list."""
    members = change(members_of(file))
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def named(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member, content


def with_header(change):
    """Return a change that edits the header's fields."""

    def edit(members):
        fields = msgspec.json.decode(members[0][1])
        change(fields)
        return [(members[0][0], msgspec.json.encode(fields)), *members[1:]]

    return edit


def test_the_models_of_a_bundle_are_those_that_were_packed(repository, file, tmp_path):
    target = Repository(tmp_path / "target")
    target.prepare()
    bundle = read_bundle(file)
    unpack(bundle, target)
    assert [entry.manifest for entry in target.entries()] == [entry.manifest for entry in repository.entries()]
    for entry in target.entries():
        target.check(entry)
    stamp = target.stamp(KEY)
    unpack(bundle, target)
    assert target.stamp(KEY) == stamp  # what is there already is left alone
    (target.triton / f"{KEY}.text_encoder" / "1" / "model.onnx").write_bytes(b"weightz")
    unpack(bundle, target)
    target.check(target.find(KEY))


def test_the_same_models_give_the_same_bytes_in_any_order(repository, file, tmp_path):
    again = tmp_path / "again.bundle"
    write_bundle(repository, repository.entries()[::-1], again)
    assert again.read_bytes() == file.read_bytes()
    assert {member.mtime for member, _ in members_of(file)} == {0}
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_signature_is_that_of_the_key_and_of_the_content(repository, file, tmp_path, keys):
    private, public, other = keys
    signed = tmp_path / "signed.bundle"
    write_bundle(repository, repository.entries(), signed, private)
    assert read_bundle(signed, public).is_signed
    assert read_bundle(signed).is_signed
    with pytest.raises(BundleError, match="is not that of"):
        read_bundle(signed, other)
    with pytest.raises(BundleError, match="not signed"):
        read_bundle(file, public)
    with pytest.raises(SettingsError, match=r"private\.pem"):
        read_bundle(signed, private)
    rewrite(signed, with_header(lambda header: header.update(models=header["models"][:1])))
    with pytest.raises(BundleError, match="is not that of"):
        read_bundle(signed, public)


def test_a_name_that_would_write_to_a_terminal_is_refused(tmp_path):
    repository = Repository(tmp_path / "repository")
    repository.prepare()
    with repository.staging() as folder:
        stage(folder, "org/\x1b[2Jmodel")
        repository.publish(folder)
    write_bundle(repository, repository.entries(), tmp_path / "models.bundle")
    with pytest.raises(BundleError, match=r"org/\\x1b\[2Jmodel"):
        read_bundle(tmp_path / "models.bundle")


ESCAPE = named("../../escaped", b"x")
SPOILED = {
    "further member": (lambda ms: [*ms, ESCAPE], "does not name"),
    "escaping member": (lambda ms: [*ms[:1], ESCAPE, *ms[2:]], "another one"),
    "absolute member": (lambda ms: [*ms[:1], named("/etc/passwd", b"x"), *ms[1:]], "another one"),
    "symbolic link": (lambda ms: [*ms[:1], named("objects/x", kind=tarfile.SYMTYPE, link="/etc"), *ms[1:]], "link"),
    "hard link": (lambda ms: [*ms[:1], named("objects/x", kind=tarfile.LNKTYPE, link="a"), *ms[1:]], "link"),
    "device": (lambda ms: [*ms[:1], named("objects/x", kind=tarfile.CHRTYPE), *ms[1:]], "no plain file"),
    "long name": (lambda ms: [*ms, named("x" * 300)], "no plain file"),
    "same member twice": (lambda ms: [*ms[:2], *ms[1:]], "another one"),
    "missing member": (lambda ms: ms[:-1], "lacks"),
    "other order": (lambda ms: [ms[0], ms[2], ms[1], *ms[3:]], "another one"),
    "changed content": (lambda ms: [*ms[:-1], (ms[-1][0], b"!" + ms[-1][1][1:])], "checksum"),
    "other size": (lambda ms: [*ms[:-1], (ms[-1][0], ms[-1][1] + b"!")], "bytes instead of"),
    "no header": (lambda ms: ms[1:], "does not begin"),
    "header is no JSON": (lambda ms: [(ms[0][0], b"{"), *ms[1:]], "cannot be read"),
    "model twice": (with_header(lambda header: header["models"].append(header["models"][0])), "twice"),
    "object twice": (with_header(lambda header: header["objects"].insert(0, header["objects"][0])), "once"),
    "other model's name": (with_header(lambda header: header["models"][0].update(name="org/evil")), "another model"),
    "other model's key": (with_header(lambda header: header["models"][0].update(key="../x")), "another model"),
    "no such manifest": (with_header(lambda header: header["models"][0].update(manifest="0" * 64)), "lacks"),
    "huge header": (lambda ms: [(ms[0][0], bytes(17 * 1024 * 1024)), *ms[1:]], "at most"),
}


@pytest.mark.parametrize(("change", "said"), SPOILED.values(), ids=SPOILED)
def test_a_bundle_that_is_not_what_its_header_says_is_refused_with_the_reason(file, change, said):
    rewrite(file, change)
    with pytest.raises(BundleError, match=said):
        read_bundle(file)


def test_a_bundle_of_a_newer_format_is_refused(file):
    rewrite(file, with_header(lambda header: header.update(format=2)))
    with pytest.raises(NewerFormatError, match="format 2"):
        read_bundle(file)


@pytest.mark.parametrize("share", [0, 0.2, 0.9])
def test_a_bundle_that_was_cut_off_is_refused(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BundleError):
        read_bundle(file)


def test_a_member_that_claims_more_than_the_file_is_refused(file):
    content = bytearray(file.read_bytes())
    content[124:136] = b"77777777777\0"
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    file.write_bytes(content)
    with pytest.raises(BundleError, match="more than the file"):
        read_bundle(file)


def test_a_manifest_whose_paths_lead_elsewhere_is_refused(file):
    def lead_elsewhere(members):
        header = msgspec.json.decode(members[0][1])
        by_name = {member.name: content for member, content in members}
        old = header["models"][0]["manifest"]
        manifest = msgspec.json.decode(by_name.pop(f"objects/{old}"))
        manifest["files"][0]["path"] = "../../escaped"
        content = msgspec.json.encode(manifest)
        new = hashlib.sha256(content).hexdigest()
        header["models"][0]["manifest"] = new
        objects = [one for one in header["objects"] if one["sha256"] != old]
        header["objects"] = sorted([*objects, {"sha256": new, "size_bytes": len(content)}], key=lambda o: o["sha256"])
        by_name[f"objects/{new}"] = content
        del by_name["ingrain-bundle.json"]
        return [
            named("ingrain-bundle.json", msgspec.json.encode(header)),
            *(named(n, by_name[n]) for n in sorted(by_name)),
        ]

    rewrite(file, lead_elsewhere)
    with pytest.raises(BundleError, match="leads out"):
        read_bundle(file)


def test_no_file_and_another_file_are_told(tmp_path):
    with pytest.raises(BundleError, match="cannot be opened"):
        read_bundle(tmp_path / "none")
    (tmp_path / "text").write_text("hello" * 1000)
    with pytest.raises(BundleError, match="no bundle"):
        read_bundle(tmp_path / "text")
