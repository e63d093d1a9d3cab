"""The members of a task definition by the model of the Amazon ECS API, and documents in its names and types. Pure.

CloudFormation writes `ContainerDefinitions` and `"512"`, Terraform `container_definitions`; the API wants
`containerDefinitions` and `512`.
"""

from __future__ import annotations

import re
from typing import Any

_SHAPES = {
    "TaskDefinition": (
        "family taskRoleArn executionRoleArn networkMode containerDefinitions:ContainerDefinition[] "
        "volumes:Volume[] placementConstraints:TaskDefinitionPlacementConstraint[] "
        "requiresCompatibilities:str[] cpu memory tags:Tag[] pidMode ipcMode "
        "proxyConfiguration:ProxyConfiguration inferenceAccelerators:InferenceAccelerator[] "
        "ephemeralStorage:EphemeralStorage runtimePlatform:RuntimePlatform enableFaultInjection:bool "
        "trustedExecutionConfiguration:TrustedExecutionConfiguration"
    ),
    "ContainerDefinition": (
        "name image repositoryCredentials:RepositoryCredentials cpu:int memory:int memoryReservation:int "
        "links:str[] portMappings:PortMapping[] essential:bool restartPolicy:ContainerRestartPolicy "
        "entryPoint:str[] command:str[] environment:KeyValuePair[] environmentFiles:EnvironmentFile[] "
        "mountPoints:MountPoint[] volumesFrom:VolumeFrom[] linuxParameters:LinuxParameters secrets:Secret[] "
        "dependsOn:ContainerDependency[] startTimeout:int stopTimeout:int versionConsistency hostname user "
        "workingDirectory disableNetworking:bool privileged:bool readonlyRootFilesystem:bool dnsServers:str[] "
        "dnsSearchDomains:str[] extraHosts:HostEntry[] dockerSecurityOptions:str[] interactive:bool "
        "pseudoTerminal:bool dockerLabels:map ulimits:Ulimit[] logConfiguration:LogConfiguration "
        "healthCheck:HealthCheck systemControls:SystemControl[] resourceRequirements:ResourceRequirement[] "
        "firelensConfiguration:FirelensConfiguration credentialSpecs:str[]"
    ),
    "RepositoryCredentials": "credentialsParameter",
    "PortMapping": "containerPort:int hostPort:int protocol name appProtocol containerPortRange",
    "ContainerRestartPolicy": "enabled:bool ignoredExitCodes:int[] restartAttemptPeriod:int",
    "KeyValuePair": "name value",
    "EnvironmentFile": "value type",
    "MountPoint": "sourceVolume containerPath readOnly:bool",
    "VolumeFrom": "sourceContainer readOnly:bool",
    "LinuxParameters": (
        "capabilities:KernelCapabilities devices:Device[] initProcessEnabled:bool sharedMemorySize:int "
        "tmpfs:Tmpfs[] maxSwap:int swappiness:int"
    ),
    "KernelCapabilities": "add:str[] drop:str[]",
    "Device": "hostPath containerPath permissions:str[]",
    "Tmpfs": "containerPath size:int mountOptions:str[]",
    "Secret": "name valueFrom",  # nosec B105 # member names
    "ContainerDependency": "containerName condition",
    "HostEntry": "hostname ipAddress",
    "Ulimit": "name softLimit:int hardLimit:int",
    "LogConfiguration": "logDriver options:map secretOptions:Secret[]",
    "HealthCheck": "command:str[] interval:int timeout:int retries:int startPeriod:int",
    "SystemControl": "namespace value",
    "ResourceRequirement": "value type sharingStrategy:SharingStrategy",
    "SharingStrategy": "nvidiaMps:NvidiaMpsAllocation",
    "NvidiaMpsAllocation": "memory:int maxComputePercent:int",
    "FirelensConfiguration": "type options:map",
    "Volume": (
        "name host:HostVolumeProperties dockerVolumeConfiguration:DockerVolumeConfiguration "
        "efsVolumeConfiguration:EFSVolumeConfiguration s3filesVolumeConfiguration:S3FilesVolumeConfiguration "
        "fsxWindowsFileServerVolumeConfiguration:FSxWindowsFileServerVolumeConfiguration "
        "configuredAtLaunch:bool"
    ),
    "HostVolumeProperties": "sourcePath",
    "DockerVolumeConfiguration": "scope autoprovision:bool driver driverOpts:map labels:map",
    "EFSVolumeConfiguration": (
        "fileSystemId rootDirectory transitEncryption transitEncryptionPort:int "
        "authorizationConfig:EFSAuthorizationConfig"
    ),
    "EFSAuthorizationConfig": "accessPointId iam",
    "S3FilesVolumeConfiguration": "fileSystemArn rootDirectory transitEncryptionPort:int accessPointArn",
    "FSxWindowsFileServerVolumeConfiguration": (
        "fileSystemId rootDirectory authorizationConfig:FSxWindowsFileServerAuthorizationConfig"
    ),
    "FSxWindowsFileServerAuthorizationConfig": "credentialsParameter domain",
    "TaskDefinitionPlacementConstraint": "type expression",
    "Tag": "key value",
    "ProxyConfiguration": "type containerName properties:KeyValuePair[]",
    "InferenceAccelerator": "deviceName deviceType",
    "EphemeralStorage": "sizeInGiB:int",
    "RuntimePlatform": "cpuArchitecture operatingSystemFamily",
    "TrustedExecutionConfiguration": "isolationMode attestationPolicy",
}
"""Every shape that RegisterTaskDefinition takes → its members: a name, and behind a colon its type where that is no
text: `int`, `bool`, `map` (keys are the user's), another shape, or a list of one of these. As botocore's model of the
Amazon ECS API (2014-11-13) has it."""

TASK_DEFINITION = "TaskDefinition"


def _members(text: str) -> dict[str, tuple[str, str]]:
    pairs = (word.partition(":") for word in text.split())
    return {plain(name): (name, kind or "str") for name, _, kind in pairs}


def plain(key: object) -> str:
    """A name without what the forms write differently, as in `ContainerDefinitions` and `container_definitions`."""
    return str(key).replace("_", "").lower()


SHAPES: dict[str, dict[str, tuple[str, str]]] = {shape: _members(text) for shape, text in _SHAPES.items()}
"""Shape → plain name → (name in the API, type)."""

_OTHER_NAMES = {
    ("ProxyConfiguration", "proxyconfigurationproperties"): "properties",  # CloudFormation
    (TASK_DEFINITION, "volume"): "volumes",  # Terraform, here and below
    ("HostVolumeProperties", "hostpath"): "sourcepath",
}
"""(shape, plain name elsewhere) → plain name in the API, where they are other words."""


def as_the_api_has_it(value: Any, kind: str = TASK_DEFINITION) -> Any:
    """The same with the API's names and types, as CloudFormation and Terraform make them of theirs.

    What cannot be of its type, and members that the API does not know, stay as they are, for the check to name them.
    """
    if kind.endswith("[]"):
        return [as_the_api_has_it(item, kind[:-2]) for item in value] if isinstance(value, list) else value
    if kind in SHAPES:
        if isinstance(value, list) and len(value) == 1:  # a block of Terraform
            value = value[0]
        return _structure(value, kind) if isinstance(value, dict) else value
    if kind == "map":
        return {key: _text(item) for key, item in value.items()} if isinstance(value, dict) else value
    return _SCALARS[kind](value)


def _structure(value: dict[str, Any], shape: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, item in value.items():
        written = plain(key)
        name, kind = SHAPES[shape].get(_OTHER_NAMES.get((shape, written), written), (None, ""))
        if name is None:
            made[key] = item
        elif shape == "ProxyConfiguration" and name == "properties" and isinstance(item, dict):  # Terraform
            made[name] = [{"name": one, "value": _text(other)} for one, other in item.items()]
        else:
            made[name] = as_the_api_has_it(item, kind)
    return made


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _number(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str) or not re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value):
        return value
    return int(value)


def _truth(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


_SCALARS = {"str": _text, "int": _number, "bool": _truth}
