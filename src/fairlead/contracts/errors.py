"""Every error that Fairlead raises on purpose.

::

    FairleadError
     |- InputError               the caller sent something wrong (the message names field, expected, found)
     |   |- MalformedBody            bytes that do not parse; says where
     |   |- InvalidTensor            name, datatype, shape, element count or value of a tensor
     |   |- InvalidParameter         a request parameter
     |   |   '- ContextTooLong           a prompt, and the answer asked for, that do not fit into the model
     |   '- BodyTooLarge             over the body limit
     |- NotFound                 no such endpoint, version or route
     |- Unauthenticated          nobody known: no credential, or none that holds; never says which
     |- Forbidden                not for this caller, or not on this server
     |- Refused                  the call was understood and not run; trying later may help
     |   |- QueueFull                over a queue limit
     |   |- RateLimited              over a limit of the caller, their tenant or the endpoint
     |   |- OverBudget               the caller's budget would not pay for the longest answer
     |   |- Overloaded               shed: it would have waited too long
     |   '- Unavailable              not ready, draining, or a dependency is down
     |       |- CircuitOpen              it failed so often lately that it is left alone for a while
     |       '- EngineLost               the engine ended while it wrote an answer
     |- ContentBlocked           a guardrail found what must not pass
     |- DeadlineExceeded         the caller's time is over
     |- Cancelled                the caller hung up
     |- ModelFailed              the model raised, or answered with a wrong shape
     |- ModelError               a model that cannot be loaded
     |   |- SourceNotFound           file, model, version, alias or run that is not there
     |   |- UnknownFormat            bytes that no runtime reads
     |   |- BrokenModel              truncated, unsupported opset, wrong signature
     |   |- DigestMismatch           bytes that are not those that were packaged
     |   |- DriverMismatch           the GPU driver that its libraries need is not here
     |   '- Untrusted                running it would run code that nobody vouched for
     |- RegistryError            the registry or its store
     |   |- RegistryUnreachable      it does not answer
     |   '- AliasMoved               compare-and-set lost the race
     |- StateError               the state store
     |   |- Conflict                 compare-and-set lost the race
     |   |- LeaseLost                another process acts now
     |   '- Busy                     one is under way already
     |- TargetError               what runs a deployment, such as a cluster
     |   |- TargetUnreachable        it does not answer
     |   |- TargetForbids            its rules do not let this account do so
     |   |- ObjectRejected           an object that it does not take
     |   |   '- ObjectTooLarge       more than it has room for
     |   |- ObjectConflict           an object that changed meanwhile, or is somebody else's
     |   '- NotReady                 objects did not become ready; it says whether what was there is back
     |- AddressInUse              host and port that another process has
     |- StorageFull               no room, or no right, to write a file
     |- PipelineFailed           a user's training pipeline raised, or lacks a function
     |- ContainerFailed          a container tool, or what it built or ran
     |- ParityFailed             a conversion that does not agree with its original
     |- MissingExtra             a library that an extra installs
     '- UsageError               wrong flags, settings or environment

``code`` is stable: clients and scripts may match on it. Only the edges map a code to an HTTP status or an exit code.
"""

from __future__ import annotations


class FairleadError(Exception):
    """Root of the tree. ``str(error)`` is one sentence that names the field, the limit and the remedy."""

    code = "internal"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which trying again makes sense; None where it does not."""

    @property
    def message(self) -> str:
        return str(self)


class InputError(FairleadError):
    code = "invalid_input"


class MalformedBody(InputError):
    code = "malformed_body"


class InvalidTensor(InputError):
    code = "invalid_tensor"


class InvalidParameter(InputError):
    code = "invalid_parameter"


class ContextTooLong(InvalidParameter):
    code = "context_too_long"


class BodyTooLarge(InputError):
    code = "body_too_large"


class NotFound(FairleadError):
    code = "not_found"


class Unauthenticated(FairleadError):
    code = "unauthenticated"


class Forbidden(FairleadError):
    code = "forbidden"


class Refused(FairleadError):
    code = "refused"


class QueueFull(Refused):
    code = "queue_full"


class RateLimited(Refused):
    code = "rate_limited"

    scope = ""
    """Whose limit: ``key``, ``tenant``, ``endpoint`` or ``caller`` (a key at one endpoint)."""
    kind = ""
    """Which: requests, rows, bytes, tokens, quota or concurrency."""
    told = b""
    """How the caller's limits stand: header lines of HTTP, each ended by CRLF."""


class OverBudget(Refused):
    code = "over_budget"


class Overloaded(Refused):
    code = "overloaded"


class Unavailable(Refused):
    code = "unavailable"


class CircuitOpen(Unavailable):
    code = "circuit_open"


class EngineLost(Unavailable):
    code = "engine_lost"


class ContentBlocked(FairleadError):
    code = "content_blocked"


class DeadlineExceeded(FairleadError):
    code = "deadline_exceeded"


class Cancelled(FairleadError):
    code = "cancelled"


class ModelFailed(FairleadError):
    code = "model_failed"


class ModelError(FairleadError):
    code = "model_error"


class SourceNotFound(ModelError):
    code = "source_not_found"


class UnknownFormat(ModelError):
    code = "unknown_format"


class BrokenModel(ModelError):
    code = "broken_model"


class DigestMismatch(ModelError):
    code = "digest_mismatch"


class DriverMismatch(ModelError):
    code = "driver_mismatch"


class Untrusted(ModelError):
    code = "untrusted"


class RegistryError(FairleadError):
    code = "registry_error"


class RegistryUnreachable(RegistryError):
    code = "registry_unreachable"


class AliasMoved(RegistryError):
    code = "alias_moved"


class StateError(FairleadError):
    code = "state_error"


class Conflict(StateError):
    code = "conflict"


class LeaseLost(StateError):
    code = "lease_lost"


class Busy(StateError):
    code = "busy"


class TargetError(FairleadError):
    code = "target_error"


class TargetUnreachable(TargetError):
    code = "target_unreachable"


class TargetForbids(TargetError):
    code = "target_forbids"


class ObjectRejected(TargetError):
    code = "object_rejected"


class ObjectTooLarge(ObjectRejected):
    code = "object_too_large"


class ObjectConflict(TargetError):
    code = "object_conflict"


class NotReady(TargetError):
    code = "not_ready"


class AddressInUse(FairleadError):
    code = "address_in_use"


class StorageFull(FairleadError):
    code = "storage_full"


class PipelineFailed(FairleadError):
    code = "pipeline_failed"


class ContainerFailed(FairleadError):
    code = "container_failed"


class ParityFailed(FairleadError):
    code = "parity_failed"


class MissingExtra(FairleadError):
    code = "missing_extra"


class UsageError(FairleadError):
    code = "usage"
