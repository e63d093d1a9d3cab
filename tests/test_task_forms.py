"""Task definitions in every form that people have come to the same record; mistakes are named where they are."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.ecs import api_members, task_definition, task_forms
from stop_harness.ecs.task_forms import TaskChoice
from stop_harness.errors import ScenarioError
from stop_harness.model import NotApplied, TaskDefinition
from stop_harness.scenario import discovery, file_kinds

CONTAINERS: list[dict[str, Any]] = [
    {
        "name": "app",
        "image": "app:1",
        "essential": True,
        "stopTimeout": 45,
        "command": ["serve", "8080"],
        "environment": [{"name": "DRAIN", "value": "5"}],
        "dependsOn": [{"containerName": "proxy", "condition": "START"}],
        "dockerLabels": {"com.Example_Team": "web"},
    },
    {"name": "proxy", "image": "proxy:2", "essential": False},
]
API: dict[str, Any] = {
    "family": "web",
    "cpu": "256",
    "memory": "512",
    "requiresCompatibilities": ["FARGATE"],
    "containerDefinitions": CONTAINERS,
}

TEMPLATE = """\
AWSTemplateFormatVersion: 2010-09-09
Transform: AWS::Serverless-2016-10-31
Parameters:
  Tag:
    Type: String
  Seconds: {Type: Number, Default: 45}
  Stage: {Type: String, Default: test, AllowedValues: [test, prod]}
  Words: {Type: CommaDelimitedList, Default: "serve, 8080"}
Mappings:
  Stages:
    test: {Drain: 5}
    prod: {Drain: 20}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  IsTest: !Not [{Condition: IsProd}]
Resources:
  Role:
    Type: AWS::IAM::Role
  Web:
    Type: AWS::ECS::TaskDefinition
    Condition: IsTest
    Properties:
      Family: web
      Cpu: 256
      Memory: "512"
      RequiresCompatibilities: [FARGATE]
      TaskRoleArn: !If [IsProd, !GetAtt Role.Arn, !Ref AWS::NoValue]
      ContainerDefinitions:
        - Name: app
          Image: !Sub "app:${Tag}"
          Essential: "true"
          StopTimeout: !Ref Seconds
          Command: !Ref Words
          Environment:
            - {Name: DRAIN, Value: !FindInMap [Stages, !Ref Stage, Drain]}
          DependsOn:
            - {ContainerName: !Join ["", [pro, xy]], Condition: START}
          DockerLabels: {com.Example_Team: web}
        - Name: proxy
          Image: !Select [1, !Split ["|", "x|proxy:2"]]
          Essential: no
"""


def read(document: Any, *parameters: tuple[str, str], name: str | None = None, **images: str) -> TaskDefinition:
    """Of JSON, or of a text."""
    text = document if isinstance(document, str) else json.dumps(document)
    return task_definition.read(text, "web.json", images, TaskChoice(name, parameters))[0]


def refused(document: Any, *parameters: tuple[str, str], name: str | None = None, **images: str) -> str:
    """What is said instead."""
    with pytest.raises(ScenarioError) as caught:
        read(document, *parameters, name=name, **images)
    return "\n".join(caught.value.problems)


def pascal(value: Any, *, is_map: bool = False) -> Any:
    """As CloudFormation names members."""
    if isinstance(value, dict):
        return {
            key if is_map else key[0].upper() + key[1:]: pascal(item, is_map=key == "dockerLabels")
            for key, item in value.items()
        }
    return [pascal(item) for item in value] if isinstance(value, list) else value


def resource(**more: Any) -> dict[str, Any]:
    """Of a template, in JSON."""
    return {"Type": "AWS::ECS::TaskDefinition", "Properties": pascal({**API, **more})}


TERRAFORM = {
    "family": "web",
    "cpu": "256",
    "memory": "512",
    "requires_compatibilities": ["FARGATE"],
    "container_definitions": json.dumps(CONTAINERS),
    "arn": "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1",
    "ephemeral_storage": [],
    "id": "web",
    "skip_destroy": False,
}
PLAN_RESOURCE = {"address": "module.a.aws_ecs_task_definition.web", "type": "aws_ecs_task_definition"}

FORMS: dict[str, Any] = {
    "register": API,
    "described": {"taskDefinition": {**API, "revision": 3, "status": "ACTIVE"}, "tags": []},
    "console, in a list": [{**API, "taskDefinitionArn": "arn", "compatibilities": ["EC2"]}],
    "described, in a list": [{"taskDefinition": API}],
    "cloudformation json": {"Resources": {"Web": resource()}},
    "properties alone": pascal(API),
    "terraform plan": {
        "planned_values": {"root_module": {"child_modules": [{"resources": [{**PLAN_RESOURCE, "values": TERRAFORM}]}]}}
    },
    "terraform state": {
        "terraform_version": "1.9.0",
        "resources": [{"type": "aws_ecs_task_definition", "name": "web", "instances": [{"attributes": TERRAFORM}]}],
    },
    "definitions as a text": {**API, "containerDefinitions": json.dumps(CONTAINERS)},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_comes_to_the_same_task(form: Any) -> None:
    """The members that RegisterTaskDefinition takes, and what is known of each container."""
    assert read(form) == read(API)
    assert file_kinds.task_definition(json.dumps(form)) is not None


@pytest.mark.parametrize(
    "form", [CONTAINERS, json.dumps(CONTAINERS), pascal(CONTAINERS)], ids=["list", "text", "Pascal"]
)
def test_container_definitions_alone_are_a_task(form: Any) -> None:
    """As Terraform's `container_definitions` has them, also as the JSON text that it renders."""
    text = json.dumps(form)
    assert read(text).containers == read({"containerDefinitions": CONTAINERS}).containers
    assert file_kinds.task_definition(text) == "these are container definitions of a task"


def test_yaml_is_read_as_json_is() -> None:
    """As `describe-task-definition --output yaml` prints it."""
    text = "family: web\ncontainerDefinitions:\n- name: app\n  image: app:1\n  stopTimeout: 5\n"
    assert [(item.name, item.stop_timeout_s) for item in read(text).containers] == [("app", 5)]
    assert "web.json:5:3: containerDefinitions.0.stopTimeout: 'x'" in refused(text.replace("Timeout: 5", "Timeout: x"))


def test_a_template_is_resolved_as_cloudformation_does() -> None:
    """Functions in their short forms, conditions, mappings, parameters; texts become numbers where the API has them."""
    assert read(TEMPLATE, ("Tag", "1")) == read(API)
    assert file_kinds.task_definition(TEMPLATE) == "this is a CloudFormation template with a task definition"
    prod = [("Tag", "1"), ("Stage", "prod")]
    assert "no task definition is created with these parameters (Web if IsTest)" in refused(TEMPLATE, *prod)
    always = TEMPLATE.replace("    Condition: IsTest\n", "")
    document = json.loads(read(always, *prod).document)
    assert document["containerDefinitions"][0]["environment"] == [{"name": "DRAIN", "value": "20"}]
    assert document["taskRoleArn"] == "Role.Arn"


@pytest.mark.parametrize(
    ("function", "made"),
    [
        ({"Fn::Sub": ["${A}-${!B}-${Tag}", {"A": {"Ref": "Tag"}}]}, "7-${B}-7"),
        ({"Fn::Join": ["/", ["a", {"Ref": "Tag"}, {"Ref": "AWS::NoValue"}]]}, "a/7"),
        ({"Fn::Base64": "hi"}, "aGk="),
        ({"Fn::ToJsonString": {"a": {"Ref": "Tag"}}}, '{"a": "7"}'),
        ({"Fn::FindInMap": ["M", "x", "y", {"DefaultValue": "d"}]}, "d"),
        ({"Fn::If": ["Yes", "a", "b"]}, "a"),
        ({"Fn::If": ["No", "a", {"Fn::Select": [1, ["c", "d"]]}]}, "d"),
        (True, "true"),
        (1.5, "1.5"),
    ],
)
def test_functions_give_what_cloudformation_gives(function: Any, made: str) -> None:
    """By the template reference."""
    template: dict[str, Any] = {
        "Parameters": {"Tag": {"Type": "String", "Default": "7"}},
        "Conditions": {
            "Yes": {"Fn::Or": [{"Condition": "No"}, {"Fn::Equals": [{"Ref": "Tag"}, 7]}]},
            "No": {"Fn::And": [{"Fn::Equals": ["a", "a"]}, {"Fn::Equals": ["a", "b"]}]},
        },
        "Resources": {"Web": resource()},
    }
    template["Resources"]["Web"]["Properties"]["ContainerDefinitions"][0]["Environment"][0]["Value"] = function
    document = json.loads(read(template).document)
    assert document["containerDefinitions"][0]["environment"][0]["value"] == made


# ── What is not known ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_parameter_without_a_value_is_named_where_it_is_declared() -> None:
    """With the option that gives it; and a name that the template does not have is a mistake, too."""
    assert refused(TEMPLATE) == (
        "web.json:4:3: parameter Tag has no default and is not given: --parameter Tag=VALUE, "
        "or `parameters` in a scenario"
    )
    wrong = refused(TEMPLATE, ("Tag", "1"), ("tga", "2"))
    assert "tga is no parameter of this template; its parameters: Tag, Seconds, Stage, Words" in wrong
    assert "web.json:7:3: Stage: 'dev' is not allowed; allowed: test, prod" in refused(
        TEMPLATE, ("Tag", "1"), ("Stage", "dev")
    )
    assert "--parameter goes with a template" in refused(API, ("Tag", "1"))


LATER = """\
Resources:
  Repo: {Type: AWS::ECR::Repository}
  Db: {Type: AWS::RDS::DBInstance}
  Web:
    Type: AWS::ECS::TaskDefinition
    Properties:
      ContainerDefinitions:
        - Name: app
          Image: !Sub "${Repo.RepositoryUri}:1"
          Environment:
            - {Name: DB, Value: !GetAtt Db.Endpoint.Address}
            - {Name: REGION, Value: !Ref AWS::Region}
          LogConfiguration: {LogDriver: awslogs, Options: {awslogs-group: !Ref Db}}
"""


def test_an_image_that_only_the_deployment_knows_is_asked_for() -> None:
    """By its container, or by what the template calls it; an account is a placeholder as well."""
    assert refused(LATER) == (
        "web.json:9:11: image of app: its value is known only once the template is deployed (Fn::GetAtt "
        "Repo.RepositoryUri): --task-image app=IMAGE, or --parameter Repo.RepositoryUri=VALUE"
    )
    assert read(LATER, app="mine").containers[0].image == "mine"
    assert read(LATER, ("Repo.RepositoryUri", "here/app")).containers[0].image == "here/app:1"
    account = LATER.replace("${Repo.RepositoryUri}", "${AWS::AccountId}.example.org/app")
    assert "image of app: AWS::AccountId is another in each account: --task-image app=IMAGE" in refused(account)
    assert read(account, ("AWS::AccountId", "1")).containers[0].image == "1.example.org/app:1"


def test_a_variable_that_only_the_deployment_knows_is_not_applied() -> None:
    """Every outcome hangs on it until it is given; where logs go and which region stands for it changes nothing."""

    def known_later(*parameters: tuple[str, str]) -> tuple[NotApplied, ...]:
        return task_definition.read(LATER, "web.yaml", {"app": "mine"}, TaskChoice(parameters=parameters))[1]

    (only,) = known_later()
    assert only.what == "containerDefinitions (app).environment (DB)"
    assert only.may_change.endswith("give it: --parameter Db.Endpoint.Address=VALUE")
    assert only.doubts
    assert known_later(("Db.Endpoint.Address", "db.local")) == ()


def test_a_number_that_only_the_deployment_knows_is_asked_for() -> None:
    """No text can stand for it."""
    text = LATER.replace("          Environment:", "          StopTimeout: !ImportValue drain\n          Environment:")
    said = refused(text, app="mine")
    assert said.startswith("web.json:10:11: stopTimeout of app: its value is known only once")
    assert said.endswith("--parameter drain=VALUE")
    assert read(text, ("drain", "7"), app="mine").containers[0].stop_timeout_s == 7


@pytest.mark.parametrize("image", ["<IMAGE1_NAME>", "${REPOSITORY}:${TAG}", "{{ image }}"])
def test_a_placeholder_that_nobody_filled_in_is_asked_for(image: str) -> None:
    """As CodeDeploy and pipelines leave them in task definitions."""
    document = {"containerDefinitions": [{"name": "app", "image": image}]}
    assert f"image of app: {image!r} has a placeholder that nobody filled in: --task-image app=IMAGE" in refused(
        document
    )
    assert read(document, app="mine").containers[0].image == "mine"


# ── Which one, and what is none ──────────────────────────────────────────────────────────────────────────────────────


def test_of_several_task_definitions_one_is_named() -> None:
    """By its resource, its family, or its family and revision."""
    template = {"Resources": {"Web": resource(), "Job": resource(family="job"), "Role": {"Type": "AWS::IAM::Role"}}}
    assert "2 task definitions: Web, Job; name one: --task-name NAME, or `task_name` in a scenario" in refused(template)
    assert read(template, name="Job").family == read(template, name="job").family == "job"
    assert "no task definition here is named 'x'; there is: Web, Job" in refused(template, name="x")
    both = [{**API, "revision": 3}, {**API, "family": "job", "revision": 1}]
    assert read(both, name="job:1").family == read(both, name="job").family == "job"
    assert "2 task definitions: web:3, job:1" in refused(both)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"name": "app", "imageUri": "r/app:1"}]', "image definitions of CodePipeline.*--task-image app=r/app:1"),
        (
            'resource "aws_ecs_task_definition" "web" {\n  family = "web"\n}\n',
            "Terraform's own language.*terraform show",
        ),
        ("Resources:\n  A: {Type: AWS::IAM::Role}\n", "web.json:1:1: no resource .* is an AWS::ECS::TaskDefinition"),
        ("Resources:\n  A: {Type: AWS::ECS::TaskDefinition}\n", "web.json:2:3: A: `ContainerDefinitions` is missing"),
        ("a: [1\n", "web.json:2:1: neither JSON nor valid YAML"),
        ("a: &a [*a]\n", "this is not a task definition"),
        ("a: " + "[" * 5000, "neither JSON nor valid YAML: exceeded maximum|levels; this is not"),
        (LATER.replace("Db.Endpoint", "Dc.Endpoint"), "web.json:11:26: Dc is no resource of this template"),
        (
            LATER.replace("${Repo.RepositoryUri}", "${Nope}"),
            "web.json:9:11: Nope is neither a parameter nor a resource",
        ),
        (LATER.replace("!Ref AWS::Region", "!Nope x"), "Fn::Nope is no function that can be applied here"),
        (TEMPLATE.replace("[Stages, !Ref", "[Other, !Ref"), "the mappings have no Other → test → Drain"),
        (TEMPLATE.replace("!Not [{Condition: IsProd}]", "!Not [{Condition: IsTest}]"), "without end"),
        (
            TEMPLATE.replace("!Ref Seconds", "[1]"),
            "web.json:32:11: containerDefinitions.0.stopTimeout: .* whole number",
        ),
        (TEMPLATE.replace("[pro, xy]", "[db]"), "web.json:29:11: .*app: depends on 'db', which is not a container"),
        (
            '{"planned_values": {"root_module": {"resources": [{"type": "aws_ecs_task_definition", "values": {}}]}}}',
            "the plan does not know its container_definitions yet",
        ),
        (
            '{"containerDefinitions": "[}"}',
            "web.json:1:2: containerDefinitions: in the text that it holds: not valid JSON",
        ),
    ],
)
def test_what_is_no_task_definition_is_told_why(text: str, said: str) -> None:
    """File, line and column where there is one, and what to do."""
    with pytest.raises(ScenarioError, match=f"(?s){said}"):
        read(text, ("Tag", "1"), app="mine") if "Parameters" in text else read(text)


PIECES = st.sampled_from(
    [{"Ref": "Tag"}, {"Ref": "Web"}, {"Fn::Sub": "${Tag}${"}, {"Fn::GetAtt": ["Web", "A"]}, {"Ref": "AWS::NoValue"}]
)
VALUES = st.recursive(
    PIECES | st.none() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Fn::If", "Fn::Join", "Fn::Select", "Fn::Split", "Fn::FindInMap", "Fn::Not", "Ref", "Fn::Sub", "Name"]
            ),
            inner,
            max_size=2,
        )
    ),
    max_leaves=6,
)


@given(VALUES, st.sampled_from(["Image", "Name", "StopTimeout", "Command", "DependsOn", "LinuxParameters"]), VALUES)
def test_any_template_is_a_task_definition_or_a_mistake(value: Any, member: str, condition: Any) -> None:
    """Never a traceback, whatever functions stand where."""
    template: dict[str, Any] = {
        "Parameters": {"Tag": {"Type": "String", "Default": "7"}},
        "Conditions": {"Yes": condition},
        "Resources": {"Web": {**resource(), "Condition": "Yes"}},
    }
    template["Resources"]["Web"]["Properties"]["ContainerDefinitions"][0][member] = value
    for text in (template, {**template, "Conditions": {"Yes": {"Fn::Equals": [1, 1]}}}):
        with contextlib.suppress(ScenarioError):
            read(text)
    with contextlib.suppress(ScenarioError):
        task_forms.names(json.dumps(template), "web.json", ())


def test_the_members_are_those_of_the_api() -> None:
    """Every shape that RegisterTaskDefinition takes, by botocore's model of it."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("ecs")
    scalars = {"string": "str", "integer": "int", "boolean": "bool"}
    shapes: dict[str, dict[str, str]] = {}

    def kind(shape: Any) -> str:
        if shape.type_name == "list":
            return f"{kind(shape.member)}[]"
        if shape.type_name == "structure" and shape.name not in shapes:
            shapes[shape.name] = {}
            shapes[shape.name] |= {name: kind(member) for name, member in shape.members.items()}
        return scalars.get(shape.type_name, str(shape.name if shape.type_name == "structure" else shape.type_name))

    request = kind(model.operation_model("RegisterTaskDefinition").input_shape)
    shapes[api_members.TASK_DEFINITION] = shapes.pop(request)
    ours = {shape: dict(members.values()) for shape, members in api_members.SHAPES.items()}
    known = {name: {member: ours[name].get(member) for member in members} for name, members in shapes.items()}
    assert known == shapes


# ── In scenarios and commands ────────────────────────────────────────────────────────────────────────────────────────


def test_a_scenario_gives_parameters_and_a_name(tmp_path: Path) -> None:
    """As written, so that `0010` stays what it is; they are not kept once the file was read."""
    (tmp_path / "stack.yaml").write_text(TEMPLATE)
    (tmp_path / "a.yaml").write_text(
        "version: 1\nname: web\n"
        "subject: {task_definition: stack.yaml, task_name: Web, parameters: {Tag: 0010}, images: {proxy: mine}}\n"
    )
    (made,) = discovery.load((tmp_path / "a.yaml",))
    assert made.subject.task is not None
    assert [item.image for item in made.subject.task.containers] == ["app:0010", "mine"]
    assert made.subject.task_parameters == ()


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Of stop-harness, in a folder."""
    full = [sys.executable, "-m", "stop_harness", *words]
    return subprocess.run(full, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_validate_looks_at_task_definitions(tmp_path: Path) -> None:
    """Beside scenarios; every one of a template, images or not; and what is wrong with one is said."""
    (tmp_path / "stack.yaml").write_text(LATER + LATER.partition("Web:\n")[2].join(["  Job:\n", ""]))
    (tmp_path / "task.json").write_text(json.dumps(API))
    done = command(tmp_path, "validate", "stack.yaml", "task.json")
    assert (done.returncode, done.stdout) == (0, "3 task definitions are valid\n")
    assert "warning: stack.yaml: Job: not applied: containerDefinitions (app).environment (DB)" in done.stderr
    assert "stop-harness check --task-definition task.json" in done.stderr
    for what in ("cpu (256 for the whole task)", "memory (512 for the whole task)"):
        assert f"note: task.json: depends on the engine: {what}: its containers share it where" in done.stderr
    (tmp_path / "bad.yaml").write_text(TEMPLATE)
    refused = command(tmp_path, "validate", "bad.yaml")
    assert (refused.returncode, "bad.yaml:4:3: parameter Tag has no default" in refused.stderr) == (2, True)
    assert command(tmp_path, "validate", "bad.yaml", "--parameter", "Tag=1").returncode == 0


@pytest.mark.parametrize("form", [*FORMS.values(), TEMPLATE, LATER], ids=[*FORMS, "template", "later"])
def test_run_says_which_command_takes_a_task_definition(tmp_path: Path, form: Any) -> None:
    """It is no scenario, in whichever form."""
    file = tmp_path / "task.yaml"
    file.write_text(form if isinstance(form, str) else json.dumps(form))
    with pytest.raises(ScenarioError, match=f"stop-harness check --task-definition {file}"):
        discovery.load((file,))
