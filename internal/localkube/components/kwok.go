package components

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	nodestages "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	podstages "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/kwok/pkg/client/clientset/versioned"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/client"
)

//go:embed stages.yaml
var ownStages string

// simulatedNodes selects the nodes whose kubelet KWOK plays.
const simulatedNodes = "kwok.x-k8s.io/node=fake"

func runKwok(args []string) int {
	flags := flag.NewFlagSet("kwok", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig file for the API server")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx = log.NewContext(ctx, log.NewLogger(os.Stderr, log.LevelWarn))
	if err := simulate(ctx, *kubeconfig); err != nil {
		fmt.Fprintf(os.Stderr, "simulate nodes: %v\n", err)
		return 1
	}
	return 0
}

// simulate plays the kubelets of the simulated nodes until ctx ends.
func simulate(ctx context.Context, kubeconfig string) error {
	conf, err := kwokConfig(kubeconfig)
	if err != nil {
		return err
	}
	controller, err := controllers.NewController(conf)
	if err != nil {
		return fmt.Errorf("create the controller: %w", err)
	}
	if err := controller.Start(ctx); err != nil {
		return fmt.Errorf("start the controller: %w", err)
	}
	fmt.Fprintln(os.Stderr, "the kubelets of the simulated nodes are played")
	<-ctx.Done()
	return nil
}

func kwokConfig(kubeconfig string) (controllers.Config, error) {
	none := controllers.Config{}
	stages, err := loadStages(nodestages.DefaultNodeInit, podstages.DefaultPodReady, podstages.DefaultPodDelete, ownStages)
	if err != nil {
		return none, err
	}
	id, err := controllers.Identity()
	if err != nil {
		return none, err
	}
	clients, err := client.NewClientset("", kubeconfig)
	if err != nil {
		return none, fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	config, err := clients.ToRESTConfig()
	if err != nil {
		return none, fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	dynamicClient, err1 := clients.ToDynamicClient()
	mapper, err2 := clients.ToRESTMapper()
	restClient, err3 := rest.RESTClientFor(config)
	typed, err4 := kubernetes.NewForConfig(config)
	typedKwok, err5 := versioned.NewForConfig(config)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return none, fmt.Errorf("create the clients: %w", err)
	}
	return controllers.Config{
		ID:                                id,
		Clock:                             clock.RealClock{},
		DynamicClient:                     dynamicClient,
		RESTClient:                        restClient,
		RESTMapper:                        mapper,
		ImpersonatingDynamicClient:        clients.ToImpersonatingDynamicClient(),
		ImpersonatingTypedClient:          clients.ToImpersonatingTypedClient(),
		TypedClient:                       typed,
		TypedKwokClient:                   typedKwok,
		ManageNodesWithAnnotationSelector: simulatedNodes,
		LocalStages:                       stages,
		CIDR:                              "10.128.0.0/9",
		NodeIP:                            "192.0.2.1", // a documentation address: nothing listens there
		NodePlayStageParallelism:          2,
		PodPlayStageParallelism:           8,
		PodsOnNodeSyncParallelism:         4,
		// No leases: the controller-manager runs without its node lifecycle
		// controller, so that an idle cluster writes nothing.
		NodeLeaseDurationSeconds: 0,
	}, nil
}

// loadStages parses YAML documents of stages and groups them by the kind of
// object they are for.
func loadStages(documents ...string) (map[internalversion.StageResourceRef][]*internalversion.Stage, error) {
	stages := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(strings.Join(documents, "\n---\n")), 4096)
	for {
		var stage v1alpha1.Stage
		err := decoder.Decode(&stage)
		if errors.Is(err, io.EOF) {
			return stages, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the stages: %w", err)
		}
		if stage.Name == "" {
			continue
		}
		internal, err := internalversion.ConvertToInternalStage(&stage)
		if err != nil {
			return nil, fmt.Errorf("read the stage %s: %w", stage.Name, err)
		}
		stages[internal.Spec.ResourceRef] = append(stages[internal.Spec.ResourceRef], internal)
	}
}
