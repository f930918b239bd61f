"""Creates stacks on an emulator, as `sam deploy` would, and tells what came of them.

    create.py ENDPOINT STACKS

STACKS is a JSON array of objects: `name`, `template` (a path) and `parameters`. Prints one JSON object: for
each stack, by its name, its resources with their types (`resources`), the template as CloudFormation gets it
(`template`), what it was told (`told`), its alarms as the CloudWatch API has them (`alarms`), and what the
Lambda API says of its function and of the function's mapping (`function`, `mapping`), if it has one.
"""

import json
import os
import sys

import botocore.session
from botocore.config import Config
from cfnlint.decode import cfn_yaml
from samtranslator.translator.transform import transform

REGION = "eu-central-1"
# The translator asks for it where no profile of the user's is to decide.
os.environ["AWS_DEFAULT_REGION"] = REGION


class NoManagedPolicies:
    """The templates name none, so that the translator need not ask IAM for their ARNs."""

    def load(self):
        return {}


def expand(path):
    """The template without its transform, its code where `sam package` puts it."""
    template = json.loads(json.dumps(cfn_yaml.load(path)))
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://code/function.zip"
    if "Transform" not in template:
        return template
    return transform(template, {}, NoManagedPolicies())


def without_math(template):
    """The template with alarms on the metrics themselves: the emulator knows no expression over them.

    What an expression says is checked by `cfn-lint`, and by the tests of the repository.
    """
    template = json.loads(json.dumps(template))
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in properties:
            metrics = properties.pop("Metrics")
            [measured] = [one["MetricStat"] for one in metrics if "MetricStat" in one]
            properties |= measured["Metric"]
            properties |= {"Statistic": measured["Stat"], "Period": measured["Period"]}
    return template


def create(client, stack):
    name = stack["name"]
    template = expand(stack["template"])
    parameters = stack["parameters"].items()
    stacks = client("cloudformation")
    stacks.create_stack(
        StackName=name,
        TemplateBody=json.dumps(without_math(template)),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters],
        Capabilities=["CAPABILITY_IAM"],
    )
    stacks.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    resources = stacks.describe_stack_resources(StackName=name)["StackResources"]
    alarms = [
        one["PhysicalResourceId"]
        for one in resources
        if one["ResourceType"] == "AWS::CloudWatch::Alarm"
    ]
    told = {
        "resources": {one["LogicalResourceId"]: one["ResourceType"] for one in resources},
        "template": template,
        "told": stack["parameters"],
        "alarms": [],
    }
    if alarms:
        described = client("cloudwatch").describe_alarms(AlarmNames=alarms)
        told["alarms"] = described["MetricAlarms"]
    if "App" in template["Parameters"]:
        function = stack["parameters"]["App"]
        functions = client("lambda")
        told["function"] = functions.get_function_configuration(FunctionName=function)
        mappings = functions.list_event_source_mappings(FunctionName=function)
        [told["mapping"]] = mappings["EventSourceMappings"]
    return told


def main(endpoint, wanted):
    session = botocore.session.get_session()
    session.set_credentials("test", "test")
    once = Config(retries={"total_max_attempts": 1})

    def client(service):
        return session.create_client(service, REGION, endpoint_url=endpoint, config=once)

    told = {stack["name"]: create(client, stack) for stack in json.loads(wanted)}
    print(json.dumps(told, default=str))


main(*sys.argv[1:])
