"""Files of deployment/ against the schemas of those who read them, and against the server that they start."""

import shlex

import kubernetes_validate
import pytest
import yaml
from repository import ROOT

from mindcv_hrnet.jobs.serve import parse
from mindcv_hrnet.serving.settings import KEY_VARIABLE

FOLDER = ROOT / "deployment"
HEALTH = {"/v2/health/ready", "/v2/health/live"}


def documents(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def entrypoint():
    """The words of the Dockerfile's ENTRYPOINT."""
    (line,) = (line for line in (FOLDER / "Dockerfile").read_text().splitlines() if line.startswith("ENTRYPOINT"))
    return yaml.safe_load(line.removeprefix("ENTRYPOINT "))


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_kubernetes_knows_every_field(version):
    kinds = []
    for document in documents("kubernetes.yaml"):
        kubernetes_validate.validate(document, version, strict=True)
        kinds.append(document["kind"])
    assert kinds == ["Deployment", "Service", "PodDisruptionBudget"]
    wrong = documents("kubernetes.yaml")[0]
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_the_predictor_of_kserve_is_a_pod():
    """KServe's own schema comes in no package; a predictor's containers are those of a pod."""
    (service,) = documents("kserve.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = service["spec"]["predictor"]
    assert predictor.pop("minReplicas") <= predictor.pop("maxReplicas")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": service["metadata"], "spec": predictor}
    kubernetes_validate.validate(pod, "1.37", strict=True)
    assert predictor["containers"][0]["name"] == "kserve-container"


def containers():
    deployment = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]["containers"][0]
    predictor = documents("kserve.yaml")[0]["spec"]["predictor"]["containers"][0]
    return {"kubernetes": deployment, "kserve": predictor}


@pytest.mark.parametrize("which", ["kubernetes", "kserve"])
def test_containers_start_a_server_that_they_can_ask(which, entrypoint):
    container = containers()[which]
    assert entrypoint[:2] == ["mindcv-hrnet", "serve"]
    settings = parse([*entrypoint[2:], *container["args"]])
    assert (settings.host, settings.port) == ("0.0.0.0", container["ports"][0]["containerPort"])
    assert settings.threads == int(container["resources"]["limits"]["cpu"])
    probes = {probe: container[probe]["httpGet"] for probe in container if probe.endswith("Probe")}
    assert len(probes) >= 2 and {probe["path"] for probe in probes.values()} <= HEALTH
    assert {probe["port"] for probe in probes.values()} <= {8080, "http"}


def test_a_pod_is_given_the_time_that_requests_may_take():
    pod = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    settings = parse(container["args"])
    assert pod["terminationGracePeriodSeconds"] > wait + settings.timeout_s + 5
    assert container["env"][0]["name"] == KEY_VARIABLE


def test_the_image_holds_what_it_needs_and_no_more():
    text = (FOLDER / "Dockerfile").read_text()
    copied = {word for line in text.splitlines() if line.startswith("COPY") for word in shlex.split(line)[1:-1]}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed and all((ROOT / name).exists() for name in copied)
    assert "USER 10001" in text and '".[serve]"' in text


def test_the_configuration_of_ray():
    (config,) = documents("ray-serve.yaml")
    (application,) = config["applications"]
    assert application["import_path"] == "mindcv_hrnet.serving.ray_app:application"
    assert application["route_prefix"] == "/" and application["args"]["replicas"] == 2
