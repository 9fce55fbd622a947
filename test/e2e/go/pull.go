// Command pull pulls an image as CRI and nerdctl do: the unpacker asks the snapshotter for each
// layer (label containerd.io/snapshot.ref) before its blob is fetched. `ctr images pull` of
// containerd 1.x cannot be used for that: it fetches everything first and unpacks afterwards.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/remotes/docker"
)

func main() {
	address := flag.String("containerd", "", "socket of containerd")
	namespace := flag.String("namespace", "default", "containerd namespace")
	snapshotter := flag.String("snapshotter", "stratalog", "name of the snapshotter in containerd")
	flag.Parse()
	if err := pull(*address, *namespace, *snapshotter, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "pull:", err)
		os.Exit(1)
	}
}

func pull(address, namespace, snapshotter, reference string) error {
	client, err := containerd.New(address)
	if err != nil {
		return err
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), namespace), 2*time.Minute)
	defer cancel()
	image, err := client.Pull(ctx, reference,
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(snapshotter),
		containerd.WithResolver(docker.NewResolver(docker.ResolverOptions{PlainHTTP: true})),
	)
	if err != nil {
		return err
	}
	fmt.Println(image.Name(), image.Target().Digest)
	return nil
}
