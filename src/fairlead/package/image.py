"""An image of a model: its Dockerfile, its labels, what is refused. Pure: text in, text out.

Two stages on one base. The first makes a virtual environment out of the wheels of the context and compiles it; the
second has the base, that environment, an empty folder for state, and nothing else. Labels and environment are part of
an image's configuration and of no layer: with the same libraries new weights change none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.contracts.errors import UsageError
from fairlead.kit import cuda

USER = 10001
"""Nobody's number on most systems; Kubernetes takes a number for proof that it is not root."""
PORT, GRPC_PORT = 8080, 8081
HOME = "/var/lib/fairlead"
"""State and downloaded weights: a volume."""
WEIGHTS = "/opt/weights"
ENVIRONMENT = "/opt/fairlead"
EPOCH = 315_532_800
"""1980-01-01, the first time that a zip file can say."""
HEAD = "# Written by `fairlead package image`"
"""How a Dockerfile of ours begins."""
LABEL = "dev.fairlead."
EXAMPLE = f"{LABEL}example"
LARGEST_EXAMPLE = 16 * 1024

_OCI = "org.opencontainers.image."
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?P<path>{_PART}(:[0-9]+(?=/))?(/{_PART})*)(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NOT_BUILT = "so the image was not built: install podman, buildah or docker"
_GPU_RUNTIMES = ("onnx", "torch")
_TESTS = (
    "-type d -name tests \\( -path '*/numpy/*' -o -path '*/scipy/*' -o -path '*/pandas/*' -o -path '*/sklearn/*' \\)"
)
"""20 MB of numpy alone; only of libraries that are known not to need theirs."""
_ASK = (
    "import http.client as h; {connect}; c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"
)
_PLAIN = "c = h.HTTPConnection('127.0.0.1', {port}, timeout=2)"
_SECURE = "import ssl; c = h.HTTPSConnection('127.0.0.1', {port}, timeout=2, context=ssl._create_unverified_context())"


@dataclass(frozen=True, slots=True)
class Base:
    """``name``: with its tag or without.  ``digest``: empty where nobody could be asked."""

    name: str
    digest: str = ""

    def __str__(self) -> str:
        """As FROM takes it: by the digest alone, since some tools take no tag beside it."""
        return f"{_untagged(self.name)}@{self.digest}" if self.digest else self.name


@dataclass(frozen=True, slots=True)
class Facts:
    """What an image is made of.

    ``endpoint``: name of the endpoint.  ``uri``: where the weights are found when it starts, with their digest.
    ``baked``: file or folder of the context that holds them; empty: they are pulled.  ``runtime``: what runs them.
    ``lineage``: label, without prefix, to value.  ``example``: input and answer as JSON; empty for none.
    ``created``: when the model was, RFC 3339.  ``cuda``: version that the libraries need; empty: the CPU.
    ``access``: callers must show a key.  ``fairlead``: this version.  ``python``: major and minor.
    """

    endpoint: str
    uri: str
    runtime: str
    fairlead: str
    python: str
    base: Base
    baked: str = ""
    lineage: Mapping[str, str] = field(default_factory=dict)
    example: str = ""
    created: str = ""
    cuda: str = ""
    access: bool = True
    trust_pickle: bool = False


def tagged(name: str) -> str:
    """A name for an image. Raises UsageError for one without a tag, or by ``latest``, which names another one later."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(f"--image is {name[:80]!r}; expected NAME:TAG, as registry.example.com/churn:4")
    if found["tag"] in (None, "latest"):
        told = "no tag" if found["tag"] is None else "the tag latest"
        raise UsageError(
            f"--image {name} has {told}, which names another image tomorrow; give it a version, {found['path']}:4"
        )
    return name


def folder(tag: str) -> str:
    """The name of a folder for an image: another one for every name and tag, also for ``a/b:1`` and ``a_b:1``."""
    return f"{re.sub('[/:]', '_', tag)[:100]}-{hashlib.sha256(tag.encode()).hexdigest()[:8]}"


def _untagged(name: str) -> str:
    found = _NAME.fullmatch(name)
    return found["path"] if found else name


def base(name: str) -> Base:
    """``IMAGE@sha256:...``, or ``IMAGE:TAG``, whose digest is still to be asked for. Raises UsageError."""
    plain, at, digest = name.partition("@")
    found = _NAME.fullmatch(plain)
    if found is None or (at and not _DIGEST.fullmatch(digest)):
        raise UsageError(f"--base is {name[:120]!r}; expected IMAGE@sha256:DIGEST, or IMAGE:TAG")
    if not at and found["tag"] in (None, "latest"):
        raise UsageError(
            f"--base {name} names another image tomorrow; give IMAGE@sha256:DIGEST (skopeo inspect docker://{plain} "
            "tells it), or a version as the tag"
        )
    return Base(plain, digest)


def has_tag(name: str) -> bool:
    """Whether a name of an image has one, or a digest."""
    return ":" in name.rpartition("/")[2] or "@" in name


def usual(python: str) -> str:
    """The base where none was named: Debian 12 with this Python, 45 MB compressed."""
    return f"docker.io/library/python:{python}-slim-bookworm"


def check_cuda(wanted: str, runtime: str, base_given: bool) -> None:
    """Raises UsageError for a GPU where nothing would use it, or that has no base with its libraries."""
    if not wanted:
        return
    cuda.version(wanted)
    if runtime not in _GPU_RUNTIMES:
        raise UsageError(
            f"--cuda is {wanted}, and the runtime {runtime!r} runs on the CPU; leave it out (with a GPU run: "
            f"{', '.join(_GPU_RUNTIMES)})"
        )
    if not base_given:
        raise UsageError(
            f"--cuda {wanted} needs a base with CUDA, cuDNN and Python in it; name it with --base IMAGE@sha256:DIGEST"
        )


def replaced(wanted_cuda: str, runtime: str) -> dict[str, str]:
    """Distributions that have another name in their build for a GPU."""
    return {"onnxruntime": "onnxruntime-gpu"} if wanted_cuda and runtime == "onnx" else {}


def command(facts: Facts) -> list[str]:
    """What the container does when nobody says otherwise."""
    words = ["serve", f"{facts.endpoint}={facts.uri}", "--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104 - a container
    words += ["--grpc-port", str(GRPC_PORT)]
    words += ["--provider", "cuda", "--workers", "1"] if facts.cuda else []
    words += ["--trust-pickle"] if facts.trust_pickle else []
    return [*words, "--access" if facts.access else "--insecure"]


def environment(facts: Facts) -> dict[str, str]:
    found = {
        "PATH": f"{ENVIRONMENT}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp",  # noqa: S108 - the one folder that is always writable
        "FAIRLEAD_HOME": HOME,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if facts.baked:
        found["FAIRLEAD_WEIGHTS"] = WEIGHTS
    if facts.cuda:
        found["FAIRLEAD_CUDA"] = facts.cuda
        found["NVIDIA_VISIBLE_DEVICES"] = "all"
        found["NVIDIA_DRIVER_CAPABILITIES"] = "compute,utility"
        found["NVIDIA_REQUIRE_CUDA"] = f"cuda>={facts.cuda}"
    return found


def ready(port: int, *, secure: bool = False) -> list[str]:
    """A command in the container that ends with 0 while the server can answer. Its certificate is for others."""
    connect = (_SECURE if secure else _PLAIN).format(port=port)
    return [f"{ENVIRONMENT}/bin/python", "-I", "-S", "-c", _ASK.format(connect=connect)]


def lately(path: str, seconds: int) -> list[str]:
    """A command in the container that ends with 0 while a file was written to in the last ``seconds``."""
    ask = f"import os, time; raise SystemExit(time.time() - os.stat({path!r}).st_mtime > {seconds})"
    return [f"{ENVIRONMENT}/bin/python", "-I", "-S", "-c", ask]


def labels(facts: Facts) -> dict[str, str]:
    """Annotations of the OCI image specification, and where the model comes from."""
    found = {
        f"{_OCI}title": facts.endpoint,
        f"{_OCI}version": facts.lineage.get("model.version", ""),
        f"{_OCI}revision": facts.lineage.get("revision", ""),
        f"{_OCI}created": facts.created,
        f"{_OCI}base.name": facts.base.name,
        f"{_OCI}base.digest": facts.base.digest,
        f"{LABEL}version": facts.fairlead,
        f"{LABEL}runtime": facts.runtime,
        f"{LABEL}python": facts.python,
        f"{LABEL}endpoint": facts.endpoint,
        f"{LABEL}cuda": facts.cuda,
        f"{LABEL}driver": _driver(facts.cuda),
        **{f"{LABEL}{name}": value for name, value in facts.lineage.items()},
        EXAMPLE: facts.example,
    }
    return {name: value for name, value in found.items() if value}


def _driver(wanted: str) -> str:
    least = cuda.LEAST_DRIVER.get(cuda.version(wanted)[0]) if wanted else None
    return f">={least[0]}.{least[1]}" if least else ""


def dockerfile(facts: Facts, epoch: int, wheel: str) -> str:
    """``epoch``: Unix time of every file, seconds.  ``wheel``: file name of our own."""
    base_line = f"ARG BASE={facts.base}" if facts.base.digest else "ARG BASE"
    why = "" if facts.base.digest else f"# Give it: --build-arg BASE={facts.base.name}@sha256:DIGEST\n"
    check = (
        f"import sys; found = '%d.%d' % sys.version_info[:2]; sys.exit(0 if found == '{facts.python}' else "
        f"'the base has Python ' + found + ', and the libraries are for {facts.python}; name another base')"
    )
    pip = "/build/pip/bin/python -m pip --python /opt/fairlead/bin/python install --quiet --no-index --no-deps"
    pip += " --no-compile --no-cache-dir --disable-pip-version-check --root-user-action=ignore"
    weights = f"COPY --chown=0:0 weights/ {WEIGHTS}/\n" if facts.baked else ""
    return f"""{HEAD}: change what it is made of, not this file.
{why}{base_line}

FROM ${{BASE}} AS build
ARG SOURCE_DATE_EPOCH={epoch}
ENV PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
COPY requirements.lock /build/requirements.lock
COPY wheels/ /build/wheels/
RUN python3 -c {_shell(check)} \\
 && python3 -m venv /build/pip \\
 && python3 -m venv --without-pip /opt/fairlead \\
 && {pip} --require-hashes --find-links /build/wheels -r /build/requirements.lock \\
 && {pip} /build/wheels/{wheel} \\
 && /build/pip/bin/python -m pip --python /opt/fairlead/bin/python check \\
 && find /opt/fairlead/lib {_TESTS} -prune -exec rm -r {{}} + \\
 && /opt/fairlead/bin/python -m compileall -q -j 1 --invalidation-mode unchecked-hash /opt/fairlead/lib \\
 && mkdir /build/state \\
 && find /opt/fairlead /build/state -exec touch --no-dereference --date=@${{SOURCE_DATE_EPOCH}} {{}} +

FROM ${{BASE}}
COPY --from=build /opt/fairlead /opt/fairlead
COPY --from=build --chown={USER}:{USER} /build/state {HOME}
{weights}{_pairs("ENV", environment(facts))}
{_pairs("LABEL", labels(facts))}
USER {USER}:{USER}
WORKDIR {HOME}
VOLUME ["{HOME}"]
EXPOSE {PORT} {GRPC_PORT}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD {json.dumps(ready(PORT))}
ENTRYPOINT ["{ENVIRONMENT}/bin/fairlead"]
CMD {json.dumps(command(facts))}
"""


def ignored() -> str:
    """``.dockerignore``: of the context only what the Dockerfile copies."""
    return "*\n!requirements.lock\n!wheels\n!weights\n"


def by_hand(facts: Facts, context: str, tag: str, platform: str) -> str:
    """The command that builds it."""
    digest = "" if facts.base.digest else f"--build-arg BASE={facts.base.name}@sha256:DIGEST "
    return f"podman build --format docker --timestamp {EPOCH} --platform {platform} {digest}-t {tag} {context}"


def _pairs(word: str, pairs: Mapping[str, str]) -> str:
    return f"{word} " + " \\\n    ".join(f"{name}={_quoted(value)}" for name, value in pairs.items())


def _quoted(value: str) -> str:
    """A value of ENV or LABEL, in which nothing is replaced."""
    text = " ".join(value.splitlines())
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


def _shell(text: str) -> str:
    """One word for a shell, of text without double quotes."""
    return f'"{text}"'


def tools(found: Sequence[str], *, runs: bool = False) -> str:
    """The sentence for a machine without a container tool. ``runs``: one that runs containers was wanted."""
    left = "so the image was not started: install podman or docker" if runs else _NOT_BUILT
    return f"no container tool works here, {left} (apt-get install podman){': ' + '; '.join(found) if found else ''}"
