// Command goclient follows a resource with the clients that controllers are built of and says, one JSON
// line each, what they saw. The interop tests read the lines and compare them with upstream.
//
//	goclient informer KUBECONFIG GROUP VERSION RESOURCE [NAMESPACE]   client-go's shared informer
//	goclient cache    KUBECONFIG [NAMESPACE]                          controller-runtime's cache, pods
//
// It ends when standard input does, with one last line: the cache's contents.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	clientcache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	crcache "sigs.k8s.io/controller-runtime/pkg/cache"
)

type line struct {
	Event   string            `json:"event"`
	Key     string            `json:"key,omitempty"`
	RV      string            `json:"rv,omitempty"`
	Objects map[string]string `json:"objects,omitempty"`
	Error   string            `json:"error,omitempty"`
}

var (
	out   = json.NewEncoder(os.Stdout)
	outMu sync.Mutex
)

func say(l line) {
	outMu.Lock()
	defer outMu.Unlock()
	_ = out.Encode(l)
}

func fail(err error) {
	say(line{Event: "failed", Error: err.Error()})
	os.Exit(1)
}

func untilStdinEnds(cancel context.CancelFunc) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
}

func handler() clientcache.ResourceEventHandlerFuncs {
	told := func(event string, obj any) {
		if gone, ok := obj.(clientcache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if m, ok := obj.(metav1.Object); ok {
			say(line{Event: event, Key: m.GetNamespace() + "/" + m.GetName(), RV: m.GetResourceVersion()})
		}
	}
	return clientcache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { told("add", obj) },
		UpdateFunc: func(_, obj any) { told("update", obj) },
		DeleteFunc: func(obj any) { told("delete", obj) },
	}
}

func followInformer(ctx context.Context, args []string) {
	config, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		fail(err)
	}
	config.QPS = 200
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		fail(err)
	}
	namespace := ""
	if len(args) > 4 {
		namespace = args[4]
	}
	gvr := schema.GroupVersionResource{Group: args[1], Version: args[2], Resource: args[3]}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, nil)
	informer := factory.ForResource(gvr).Informer()
	if _, err := informer.AddEventHandler(handler()); err != nil {
		fail(err)
	}
	factory.Start(ctx.Done())
	syncCtx, done := context.WithTimeout(ctx, 60*time.Second)
	defer done()
	if !clientcache.WaitForCacheSync(syncCtx.Done(), informer.HasSynced) {
		fail(fmt.Errorf("the informer did not sync within a minute"))
	}
	say(line{Event: "synced"})
	<-ctx.Done()
	objects := map[string]string{}
	for _, obj := range informer.GetStore().List() {
		u := obj.(*unstructured.Unstructured)
		objects[u.GetNamespace()+"/"+u.GetName()] = u.GetResourceVersion()
	}
	say(line{Event: "objects", Objects: objects})
}

func followCache(ctx context.Context, args []string) {
	config, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		fail(err)
	}
	options := crcache.Options{}
	if len(args) > 1 {
		options.DefaultNamespaces = map[string]crcache.Config{args[1]: {}}
	}
	cache, err := crcache.New(config, options)
	if err != nil {
		fail(err)
	}
	informer, err := cache.GetInformer(ctx, &corev1.Pod{}, crcache.BlockUntilSynced(false))
	if err != nil {
		fail(err)
	}
	if _, err := informer.AddEventHandler(handler()); err != nil {
		fail(err)
	}
	go func() {
		if err := cache.Start(ctx); err != nil {
			fail(err)
		}
	}()
	if !cache.WaitForCacheSync(ctx) {
		fail(fmt.Errorf("the cache did not sync"))
	}
	say(line{Event: "synced"})
	<-ctx.Done()
	var pods corev1.PodList
	if err := cache.List(context.Background(), &pods); err != nil {
		fail(err)
	}
	sort.Slice(pods.Items, func(i, j int) bool { return pods.Items[i].Name < pods.Items[j].Name })
	objects := map[string]string{}
	for _, pod := range pods.Items {
		objects[pod.Namespace+"/"+pod.Name] = pod.ResourceVersion
	}
	say(line{Event: "objects", Objects: objects})
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: goclient informer KUBECONFIG GROUP VERSION RESOURCE [NAMESPACE] | cache KUBECONFIG [NAMESPACE]")
		os.Exit(2)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go untilStdinEnds(cancel)
	switch os.Args[1] {
	case "informer":
		followInformer(ctx, os.Args[2:])
	case "cache":
		followCache(ctx, os.Args[2:])
	default:
		fail(fmt.Errorf("unknown client %q", os.Args[1]))
	}
}
