// Package k8s holds that the manifests of base fit together and fit the code: they render, decode strictly, and name
// flags, ports, services and files that exist.
package k8s

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-lb/holdfast/dpd/node"
)

// workload is what makes pods.
type workload struct {
	kind, name string
	pod        corev1.PodTemplateSpec
	selector   *metav1.LabelSelector
	claims     []corev1.PersistentVolumeClaim
}

type manifests struct {
	workloads []workload
	services  []corev1.Service
	budgets   []policyv1.PodDisruptionBudget
	policies  []networkingv1.NetworkPolicy
	configs   []corev1.ConfigMap
	namespace []corev1.Namespace
}

func render(t *testing.T) manifests {
	t.Helper()
	res, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "base")
	if err != nil {
		t.Fatal(err)
	}
	var m manifests
	for _, r := range res.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		decode := func(into any) {
			if err := yaml.UnmarshalStrict(text, into); err != nil {
				t.Errorf("%s: %v", r.CurId(), err)
			}
		}
		if r.GetKind() != "Namespace" && r.GetNamespace() != "holdfast" {
			t.Errorf("%s is in namespace %q", r.CurId(), r.GetNamespace())
		}
		switch r.GetKind() {
		case "Deployment":
			var d appsv1.Deployment
			decode(&d)
			m.workloads = append(m.workloads, workload{"Deployment", d.Name, d.Spec.Template, d.Spec.Selector, nil})
		case "StatefulSet":
			var s appsv1.StatefulSet
			decode(&s)
			m.workloads = append(m.workloads, workload{"StatefulSet", s.Name, s.Spec.Template, s.Spec.Selector, s.Spec.VolumeClaimTemplates})
		case "DaemonSet":
			var d appsv1.DaemonSet
			decode(&d)
			m.workloads = append(m.workloads, workload{"DaemonSet", d.Name, d.Spec.Template, d.Spec.Selector, nil})
		case "Service":
			m.services = append(m.services, corev1.Service{})
			decode(&m.services[len(m.services)-1])
		case "PodDisruptionBudget":
			m.budgets = append(m.budgets, policyv1.PodDisruptionBudget{})
			decode(&m.budgets[len(m.budgets)-1])
		case "NetworkPolicy":
			m.policies = append(m.policies, networkingv1.NetworkPolicy{})
			decode(&m.policies[len(m.policies)-1])
		case "ConfigMap":
			m.configs = append(m.configs, corev1.ConfigMap{})
			decode(&m.configs[len(m.configs)-1])
		case "Namespace":
			m.namespace = append(m.namespace, corev1.Namespace{})
			decode(&m.namespace[len(m.namespace)-1])
		default:
			t.Errorf("%s is of a kind that this test does not know", r.CurId())
		}
	}
	return m
}

func (m *manifests) matching(t *testing.T, s *metav1.LabelSelector) []workload {
	t.Helper()
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(slices.Clone(m.workloads), func(w workload) bool { return !sel.Matches(labels.Set(w.pod.Labels)) })
}

func hasPort(w workload, p intstr.IntOrString) bool {
	for _, c := range w.pod.Spec.Containers {
		for _, x := range c.Ports {
			if p.Type == intstr.String && x.Name == p.StrVal || p.Type == intstr.Int && x.ContainerPort == p.IntVal {
				return true
			}
		}
	}
	return false
}

func TestEverythingIsThere(t *testing.T) {
	m := render(t)
	var got []string
	for _, w := range m.workloads {
		got = append(got, w.kind+"/"+w.name)
	}
	slices.Sort(got)
	want := []string{
		"DaemonSet/dpd", "Deployment/conntrack-query", "Deployment/gateway", "Deployment/health", "Deployment/scheduler",
		"Deployment/sync-coordinator", "StatefulSet/nats",
	}
	if !slices.Equal(got, want) || len(m.namespace) != 1 {
		t.Errorf("workloads %v", got)
	}
}

func TestSelectorsMeetPods(t *testing.T) {
	m := render(t)
	for _, w := range m.workloads {
		if n := len(m.matching(t, w.selector)); n != 1 {
			t.Errorf("%s selects the pods of %d workloads", w.name, n)
		}
	}
	for _, s := range m.services {
		found := m.matching(t, &metav1.LabelSelector{MatchLabels: s.Spec.Selector})
		if len(found) != 1 {
			t.Errorf("service %s selects the pods of %d workloads", s.Name, len(found))
			continue
		}
		for _, p := range s.Spec.Ports {
			if !hasPort(found[0], p.TargetPort) {
				t.Errorf("service %s: no container has port %v", s.Name, p.TargetPort.String())
			}
		}
	}
	for _, b := range m.budgets {
		found := m.matching(t, b.Spec.Selector)
		if len(found) != 1 || found[0].kind == "DaemonSet" {
			t.Errorf("disruption budget %s selects %d workloads", b.Name, len(found))
		}
	}
	for _, w := range m.workloads {
		if w.kind == "DaemonSet" {
			continue // evictions pass DaemonSets by
		}
		if !slices.ContainsFunc(m.budgets, func(b policyv1.PodDisruptionBudget) bool { return b.Name == w.name }) {
			t.Errorf("%s has no disruption budget", w.name)
		}
	}
	for _, p := range m.policies {
		found := m.matching(t, &p.Spec.PodSelector)
		if len(found) == 0 {
			t.Errorf("network policy %s selects nothing", p.Name)
		}
		for _, in := range p.Spec.Ingress {
			for _, port := range in.Ports {
				for _, w := range found {
					if !hasPort(w, *port.Port) {
						t.Errorf("network policy %s: %s has no port %v", p.Name, w.name, port.Port.String())
					}
				}
			}
			for _, from := range in.From {
				if from.PodSelector != nil && len(m.matching(t, from.PodSelector)) == 0 {
					t.Errorf("network policy %s lets in pods that do not exist", p.Name)
				}
			}
		}
	}
}

// flagSources says where the flags of each command are made.
var flagSources = map[string][]string{
	"/bin/scheduler":        {"../services/kit/run.go", "../services/scheduler/main.go"},
	"/bin/sync-coordinator": {"../services/kit/run.go", "../services/sync-coordinator/coordinator/process.go"},
	"/bin/conntrack-query":  {"../services/kit/run.go", "../services/conntrack-query/query/process.go"},
	"/bin/health":           {"../services/kit/run.go", "../services/health/service/process.go"},
	"/bin/gateway":          {"../gateway/main.go"},
	"/bin/dpd":              {"../dpd/main.go"},
	"/bin/podtool":          {"podtool/main.go"},
}

// flagsOf reads the names of flags out of calls such as fs.StringVar(&x, "name", …) and flag.Bool("name", …).
func flagsOf(t *testing.T, command string) map[string]bool {
	t.Helper()
	sources := flagSources[command]
	if sources == nil {
		t.Fatalf("command %q is not known", command)
	}
	out := map[string]bool{}
	for _, path := range sources {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			at := 0
			if strings.HasSuffix(sel.Sel.Name, "Var") {
				at = 1
			} else if x, ok := sel.X.(*ast.Ident); !ok || x.Name != "flag" {
				return true
			}
			if len(call.Args) > at+1 {
				if lit, ok := call.Args[at].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if name, err := strconv.Unquote(lit.Value); err == nil {
						out[name] = true
					}
				}
			}
			return true
		})
	}
	if len(out) == 0 {
		t.Fatalf("no flags found of %s", command)
	}
	return out
}

// given are the flags of a command line, by name.
func given(args []string) map[string]string {
	out := map[string]string{}
	for i := 0; i < len(args); i++ {
		name, ok := strings.CutPrefix(args[i], "--")
		if !ok {
			continue
		}
		name, value, has := strings.Cut(name, "=")
		if !has && i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
			i++
			value = args[i]
		}
		out[name] = value
	}
	return out
}

func TestCommandsHaveTheFlagsThatTheyAreGiven(t *testing.T) {
	m := render(t)
	for _, w := range m.workloads {
		for _, c := range w.pod.Spec.Containers {
			if len(c.Command) > 0 {
				known := flagsOf(t, c.Command[0])
				for name := range given(append(slices.Clone(c.Command[1:]), c.Args...)) {
					if !known[name] {
						t.Errorf("%s: %s has no flag --%s", w.name, c.Command[0], name)
					}
				}
			}
			for _, argv := range execs(c) {
				if argv[0] == "wget" {
					continue
				}
				known := flagsOf(t, argv[0])
				for name := range given(argv[2:]) {
					if !known[name] {
						t.Errorf("%s: %s has no flag --%s", w.name, argv[0], name)
					}
				}
			}
		}
	}
}

// execs are the command lines that the kubelet runs in a container.
func execs(c corev1.Container) [][]string {
	var out [][]string
	for _, p := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		if p != nil && p.Exec != nil {
			out = append(out, p.Exec.Command)
		}
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Exec != nil {
		out = append(out, c.Lifecycle.PreStop.Exec.Command)
	}
	return out
}

// served says whether a name and port is that of a Service.
func (m *manifests) served(host, port string) bool {
	host, _, _ = strings.Cut(host, ".")
	for _, s := range m.services {
		for _, p := range s.Spec.Ports {
			if s.Name == host && fmt.Sprint(p.Port) == port {
				return true
			}
		}
	}
	return false
}

func TestAddressesMeetServicesAndPorts(t *testing.T) {
	m := render(t)
	for _, w := range m.workloads {
		for _, c := range w.pod.Spec.Containers {
			if len(c.Command) == 0 || c.Command[0] == "/bin/dpd" {
				continue
			}
			for name, value := range given(c.Args) {
				value = strings.TrimPrefix(value, "tls://")
				host, port, ok := strings.Cut(value, ":")
				if !ok {
					continue
				}
				n, err := strconv.Atoi(port)
				switch {
				case err != nil:
					t.Errorf("%s --%s=%s", w.name, name, value)
				case host == "" && !hasPort(w, intstr.FromInt(n)):
					t.Errorf("%s listens on %d (--%s), which no port names", w.name, n, name)
				case host != "" && !m.served(host, port):
					t.Errorf("%s --%s=%s is no service", w.name, name, value)
				}
			}
			for _, argv := range execs(c) {
				for name, value := range given(argv[1:]) {
					host, port, ok := strings.Cut(value, ":")
					n, _ := strconv.Atoi(port)
					switch {
					case !ok || strings.HasPrefix(value, "/"):
					case host == "127.0.0.1" && !hasPort(w, intstr.FromInt(n)), host != "127.0.0.1" && !m.served(host, port):
						t.Errorf("%s: %s --%s=%s is not there", w.name, argv[0], name, value)
					}
				}
			}
			for _, p := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
				if p != nil && p.HTTPGet != nil && !hasPort(w, p.HTTPGet.Port) || p != nil && p.TCPSocket != nil && !hasPort(w, p.TCPSocket.Port) {
					t.Errorf("%s: a probe of a port that is not there", w.name)
				}
			}
		}
	}
}

func TestVolumesAreThereAndUsed(t *testing.T) {
	m := render(t)
	for _, w := range m.workloads {
		used := map[string]bool{}
		known := map[string]bool{}
		for _, v := range w.pod.Spec.Volumes {
			known[v.Name] = true
			if v.ConfigMap != nil && !slices.ContainsFunc(m.configs, func(c corev1.ConfigMap) bool { return c.Name == v.ConfigMap.Name }) {
				t.Errorf("%s: config map %s is not there", w.name, v.ConfigMap.Name)
			}
		}
		for _, v := range w.claims {
			known[v.Name] = true
			used[v.Name] = true
		}
		for _, c := range w.pod.Spec.Containers {
			for _, v := range c.VolumeMounts {
				used[v.Name] = true
				if !known[v.Name] {
					t.Errorf("%s mounts %s, which is not there", w.name, v.Name)
				}
			}
		}
		for name := range known {
			if !used[name] {
				t.Errorf("%s: volume %s is mounted nowhere", w.name, name)
			}
		}
	}
}

// TestTheSealingKeyIsASecretOfTheCoordinatorAlone: all replicas have the same key, no other pod has it, and its mode is one
// that the coordinator takes.
func TestTheSealingKeyIsASecretOfTheCoordinatorAlone(t *testing.T) {
	const secret = "sync-coordinator-kek"
	found := false
	for _, w := range render(t).workloads {
		for _, v := range w.pod.Spec.Volumes {
			if v.Secret == nil || v.Secret.SecretName != secret {
				continue
			}
			if w.name != "sync-coordinator" {
				t.Errorf("%s mounts %s", w.name, secret)
				continue
			}
			found = true
			if m := v.Secret.DefaultMode; m == nil || *m&^0o440 != 0 {
				t.Errorf("%s is mounted with mode %v", secret, m)
			}
			for _, c := range w.pod.Spec.Containers {
				path := given(c.Args)["kek-file"]
				if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
					return m.Name == v.Name && m.ReadOnly && filepath.Dir(path) == m.MountPath
				}) {
					t.Errorf("--kek-file=%s is not in %s", path, secret)
				}
			}
		}
	}
	if !found {
		t.Error("the coordinator has no sealing key")
	}
}

func TestNothingIsPrivileged(t *testing.T) {
	m := render(t)
	for _, w := range m.workloads {
		for _, c := range w.pod.Spec.Containers {
			s := c.SecurityContext
			if s == nil || s.Privileged != nil && *s.Privileged || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
				s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.Capabilities == nil ||
				!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: security context %+v", w.name, s)
				continue
			}
			if add := s.Capabilities.Add; w.name != "dpd" && len(add) > 0 {
				t.Errorf("%s adds capabilities %v", w.name, add)
			}
			if w.name == "dpd" && !slices.Equal(s.Capabilities.Add, []corev1.Capability{"IPC_LOCK", "NET_ADMIN", "NET_RAW", "SYS_NICE"}) {
				t.Errorf("dpd adds %v", s.Capabilities.Add)
			}
			if w.name != "dpd" && (w.pod.Spec.HostNetwork || w.pod.Spec.SecurityContext.RunAsNonRoot == nil || !*w.pod.Spec.SecurityContext.RunAsNonRoot) {
				t.Errorf("%s runs as root or on the host's network", w.name)
			}
		}
		if a := w.pod.Spec.AutomountServiceAccountToken; a == nil || *a {
			t.Errorf("%s is given a token of the API server", w.name)
		}
	}
}

func dpd(t *testing.T, m manifests) (workload, corev1.ConfigMap) {
	t.Helper()
	for _, w := range m.workloads {
		for _, v := range w.pod.Spec.Volumes {
			if w.name != "dpd" || v.ConfigMap == nil {
				continue
			}
			for _, c := range m.configs {
				if c.Name == v.ConfigMap.Name {
					return w, c
				}
			}
		}
	}
	t.Fatal("no dpd with a config map")
	return workload{}, corev1.ConfigMap{}
}

func TestDataPlanesAreGuaranteedTheirCoresAndPages(t *testing.T) {
	w, _ := dpd(t, render(t))
	for _, c := range w.pod.Spec.Containers {
		if len(c.Resources.Limits) < 3 {
			t.Errorf("limits %v", c.Resources.Limits)
		}
		for name, limit := range c.Resources.Limits {
			if request := c.Resources.Requests[name]; request.Cmp(limit) != 0 {
				t.Errorf("%s: requests %v, limit %v", name, request.String(), limit.String())
			}
		}
		cpu := c.Resources.Limits[corev1.ResourceCPU]
		if cpu.MilliValue()%1000 != 0 {
			t.Errorf("%v is no whole number of cores", cpu.String())
		}
		if _, ok := c.Resources.Limits["hugepages-1Gi"]; !ok {
			t.Error("no huge pages")
		}
		drain := given(c.Lifecycle.PreStop.Exec.Command[1:])["timeout"]
		if !strings.HasSuffix(drain, "s") {
			t.Fatalf("drain timeout %q", drain)
		}
		if s, _ := strconv.Atoi(strings.TrimSuffix(drain, "s")); int64(s) >= *w.pod.Spec.TerminationGracePeriodSeconds {
			t.Errorf("the drain takes up to %d s, the pod is killed after %d s", s, *w.pod.Spec.TerminationGracePeriodSeconds)
		}
	}
}

func TestDataPlanesUnderstandTheirConfiguration(t *testing.T) {
	m := render(t)
	w, c := dpd(t, m)
	cpu := w.pod.Spec.Containers[0].Resources.Limits[corev1.ResourceCPU]
	for file, text := range c.Data {
		path := filepath.Join(t.TempDir(), file)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := node.LoadConfig(path)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if cfg.Node.Name+".yaml" != file {
			t.Errorf("%s is of node %s", file, cfg.Node.Name)
		}
		if !hasPort(w, intstr.FromInt(int(cfg.Control.Listen.Port()))) || !hasPort(w, intstr.FromInt(int(cfg.Metrics.Listen.Port()))) {
			t.Errorf("%s listens on %v and %v", file, cfg.Control.Listen, cfg.Metrics.Listen)
		}
		if int64(len(cfg.EAL.Cores)) != cpu.Value() || cfg.Workers+1 != len(cfg.EAL.Cores) {
			t.Errorf("%s: %d cores and %d workers of %v", file, len(cfg.EAL.Cores), cfg.Workers, cpu.String())
		}
		for _, at := range cfg.Control.Coordinators {
			if host, port, _ := strings.Cut(at, ":"); !m.served(host, port) {
				t.Errorf("%s: coordinator %s is no service", file, at)
			}
		}
		if host, port, _ := strings.Cut(strings.TrimPrefix(cfg.NATS.URL, "tls://"), ":"); !m.served(host, port) {
			t.Errorf("%s: NATS %s is no service", file, cfg.NATS.URL)
		}
		if !mounted(w, cfg.Control.TLS.Cert) || !mounted(w, cfg.Node.DataDir) {
			t.Errorf("%s: %s or %s is not mounted", file, cfg.Control.TLS.Cert, cfg.Node.DataDir)
		}
	}
	if len(c.Data) == 0 {
		t.Error("no machine has a configuration")
	}
}

func mounted(w workload, path string) bool {
	return slices.ContainsFunc(w.pod.Spec.Containers[0].VolumeMounts, func(v corev1.VolumeMount) bool {
		return path == v.MountPath || strings.HasPrefix(path, v.MountPath+"/")
	})
}

func TestNoFileOfBaseIsForgotten(t *testing.T) {
	text, err := os.ReadFile("base/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("base/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b := filepath.Base(f); b != "kustomization.yaml" && !bytes.Contains(text, []byte(b)) {
			t.Errorf("%s is in no list of kustomization.yaml", f)
		}
	}
}
