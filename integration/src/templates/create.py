"""Creates the stack of each template on an emulator, as `sam deploy` would, and tells what came of it.

    create.py ENDPOINT TEMPLATE...

Prints one JSON object: for each template, by its file's name, the stack's resources with their types
(`resources`), the template as CloudFormation gets it (`template`), and what the Lambda API says of its
function and of the function's mapping (`function`, `mapping`), if it has one.
"""

import json
import os
import sys
from pathlib import Path

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


def create(client, path):
    name = Path(path).stem
    template = expand(path)
    of_function = "App" in template["Parameters"]
    parameters = [{"ParameterKey": "App", "ParameterValue": name}] if of_function else []
    stacks = client("cloudformation")
    stacks.create_stack(
        StackName=name,
        TemplateBody=json.dumps(template),
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM"],
    )
    stacks.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    resources = stacks.describe_stack_resources(StackName=name)["StackResources"]
    told = {
        "resources": {one["LogicalResourceId"]: one["ResourceType"] for one in resources},
        "template": template,
    }
    if of_function:
        functions = client("lambda")
        told["function"] = functions.get_function_configuration(FunctionName=name)
        mappings = functions.list_event_source_mappings(FunctionName=name)
        [told["mapping"]] = mappings["EventSourceMappings"]
    return told


def main(endpoint, paths):
    session = botocore.session.get_session()
    session.set_credentials("test", "test")
    once = Config(retries={"total_max_attempts": 1})

    def client(service):
        return session.create_client(service, REGION, endpoint_url=endpoint, config=once)

    told = {Path(path).stem: create(client, path) for path in paths}
    print(json.dumps(told, default=str))


main(sys.argv[1], sys.argv[2:])
