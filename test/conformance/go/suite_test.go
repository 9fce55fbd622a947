// Package conformance runs containerd's own snapshotter suite against a proxy plugin.
//
// Three ways to reach the plugin, one of which must be chosen:
//
//	-serve CMD ARG…      starts one server for each subtest; --root DIR --address SOCKET is appended
//	-address SOCKET      dials one server that is already running and shared by all subtests
//	-containerd SOCKET   goes through containerd, as its clients do; -snapshotter names the plugin
package conformance

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/proxy"
	"github.com/containerd/containerd/snapshots/testsuite"
	"google.golang.org/grpc"
)

var (
	serve       = flag.Bool("serve", false, "the arguments are a command that serves a root on a socket")
	address     = flag.String("address", "", "socket of a running plugin")
	throughSock = flag.String("containerd", "", "socket of a containerd that has the plugin")
	snapshotter = flag.String("snapshotter", "stratalog", "name of the plugin in that containerd")
)

// The suite expects of an `overlayfs` what ours is: its Rename needs redirect_dir otherwise.
const suiteName = "overlayfs"

func TestSnapshotter(t *testing.T) {
	switch {
	case *serve && flag.NArg() > 0:
		testsuite.SnapshotterSuite(t, suiteName, serveEachRoot)
	case *address != "":
		testsuite.SnapshotterSuite(t, suiteName, dialShared)
	case *throughSock != "":
		testsuite.SnapshotterSuite(t, suiteName, throughContainerd)
	default:
		t.Fatal("one of -serve, -address and -containerd must be given")
	}
}

func dialShared(context.Context, string) (snapshots.Snapshotter, func() error, error) {
	return dial(*address)
}

func throughContainerd(context.Context, string) (snapshots.Snapshotter, func() error, error) {
	client, err := containerd.New(*throughSock)
	if err != nil {
		return nil, nil, err
	}
	return client.SnapshotService(*snapshotter), client.Close, nil
}

// serveEachRoot gives every subtest a server of its own, so that none sees another's keys.
func serveEachRoot(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
	// Unix socket paths end at 107 bytes: the suite's own directories are too deep for some TMPDIRs.
	socketDir, err := os.MkdirTemp("", "conf-")
	if err != nil {
		return nil, nil, err
	}
	socket := filepath.Join(socketDir, "s.sock")
	output, err := os.Create(filepath.Join(socketDir, "server.log"))
	if err != nil {
		return nil, nil, err
	}
	defer output.Close()

	words := append(append([]string{}, flag.Args()...), "--root", root, "--address", socket)
	command := exec.Command(words[0], words[1:]...)
	command.Stdout, command.Stderr = output, output
	// A suite that is killed must not leave servers behind.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startOnLastingThread(command); err != nil {
		return nil, nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()

	stop := func() error {
		defer os.RemoveAll(socketDir)
		if err := command.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("the server had ended by itself: %w%s", err, logOf(socketDir))
		}
		select {
		case err := <-exited:
			if err != nil {
				return fmt.Errorf("the server ended badly: %w%s", err, logOf(socketDir))
			}
			return nil
		case <-time.After(patience):
			_ = command.Process.Kill()
			<-exited
			return fmt.Errorf("the server did not end within %s of SIGTERM%s", patience, logOf(socketDir))
		}
	}

	if err := waitUntilAccepting(socket, exited); err != nil {
		err = fmt.Errorf("%w%s", err, logOf(socketDir))
		_ = command.Process.Kill()
		_ = os.RemoveAll(socketDir)
		return nil, nil, err
	}
	service, hangUp, err := dial(socket)
	if err != nil {
		err = fmt.Errorf("%w%s", err, logOf(socketDir))
		_ = stop()
		return nil, nil, err
	}
	return service, func() error {
		hangUpErr := hangUp()
		if err := stop(); err != nil {
			return err
		}
		return hangUpErr
	}, nil
}

// patience ends a wait for what never comes. A busy machine is slow, not broken.
const patience = 3 * time.Minute

// starts carries commands to the one thread that starts them all.
var starts = make(chan startRequest)

type startRequest struct {
	command *exec.Cmd
	started chan error
}

func init() {
	go func() {
		// Never unlocked: the thread lasts as long as the process.
		runtime.LockOSThread()
		for request := range starts {
			request.started <- request.command.Start()
		}
	}()
}

// startOnLastingThread is for commands with Pdeathsig, which the kernel sends when the thread that
// started them ends, not the process (prctl(2), PR_SET_PDEATHSIG).
func startOnLastingThread(command *exec.Cmd) error {
	request := startRequest{command, make(chan error)}
	starts <- request
	return <-request.started
}

func waitUntilAccepting(socket string, exited chan error) error {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		select {
		case err := <-exited:
			exited <- err
			return fmt.Errorf("the server ended at once: %v", err)
		default:
		}
		connection, err := net.Dial("unix", socket)
		if err == nil {
			return connection.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("the server did not listen within %s", patience)
}

func dial(socket string) (snapshots.Snapshotter, func() error, error) {
	connection, err := grpc.Dial("unix://"+socket, grpc.WithInsecure(), grpc.WithBlock(),
		grpc.WithTimeout(patience))
	if err != nil {
		return nil, nil, fmt.Errorf("dial %s: %w", socket, err)
	}
	client := snapshotsapi.NewSnapshotsClient(connection)
	return proxy.NewSnapshotter(client, *snapshotter), connection.Close, nil
}

func logOf(directory string) string {
	text, err := os.ReadFile(filepath.Join(directory, "server.log"))
	if err != nil || len(text) == 0 {
		return ""
	}
	const most = 4000
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return "\nits output ended:\n" + string(text)
}
