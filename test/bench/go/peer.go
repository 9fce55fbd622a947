// Command peer serves containerd's own overlayfs snapshotter over gRPC on a unix socket, the way
// a proxy plugin is served. It is the peer of the benchmarks, and the known-good server that
// proves the conformance runner and the end-to-end rig before they judge anything else.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/contrib/snapshotservice"
	"github.com/containerd/containerd/snapshots/overlay"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

func main() {
	root := flag.String("root", "", "directory of the snapshotter")
	address := flag.String("address", "", "path of the unix socket")
	populate := flag.String("populate", "", "make the database from this file of layers and end; see populate.go")
	asyncRemove := flag.Bool("async-remove", false, "leave deletion to Cleanup, as containerd's built-in plugin does")
	flag.Parse()
	if *root != "" && *populate != "" {
		if err := populateFrom(*root, *populate); err != nil {
			fail(err)
		}
		return
	}
	if *root == "" || *address == "" {
		fail(fmt.Errorf("both -root and -address are needed"))
	}

	var options []overlay.Opt
	if *asyncRemove {
		options = append(options, overlay.AsynchronousRemove)
	}
	snapshotter, err := overlay.NewSnapshotter(*root, options...)
	if err != nil {
		fail(err)
	}
	defer snapshotter.Close()

	if err := os.Remove(*address); err != nil && !os.IsNotExist(err) {
		fail(err)
	}
	listener, err := net.Listen("unix", *address)
	if err != nil {
		fail(err)
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT)
	go func() {
		<-stop
		server.GracefulStop()
	}()
	if err := server.Serve(listener); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "peer:", err)
	os.Exit(1)
}
