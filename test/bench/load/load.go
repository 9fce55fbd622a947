// Command load measures a snapshotter behind a unix socket: the time of each call with one client,
// and calls per second with many. It is in Go because a client in Node.js would be the bottleneck,
// and because containerd, the real client, is in Go too. It prints one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
)

// base is the committed parent of everything that is prepared.
const base = "bench/base"

// timings are durations by method.
type timings map[string][]time.Duration

// report is one method's line: microseconds, and how many calls they are of.
type report struct {
	Calls int     `json:"calls"`
	Mean  float64 `json:"meanMicros"`
	P50   float64 `json:"p50Micros"`
	P99   float64 `json:"p99Micros"`
}

type result struct {
	Clients int     `json:"clients"`
	Seconds float64 `json:"seconds"`
	Calls   int     `json:"calls"`
	// CallsInAll counts those of the warm-up too: what the server's processor time is divided by.
	CallsInAll int               `json:"callsInAll"`
	PerSecond  float64           `json:"callsPerSecond"`
	Methods    map[string]report `json:"methods"`
}

func main() {
	address := flag.String("address", "", "path of the unix socket")
	clients := flag.Int("clients", 1, "clients at one time, each with a connection of its own")
	warmUp := flag.Duration("warm-up", time.Second, "time before anything counts")
	duration := flag.Duration("duration", 5*time.Second, "time that counts")
	views := flag.Bool("views", false, "also prepare and remove a view in each cycle")
	bytes := flag.Int("bytes", 4096, "size of the file that is written into each layer")
	prefix := flag.String("prefix", "bench", "of all keys")
	lists := flag.Int("list", 0, "only list everything so many times, after one time that does not count")
	flag.Parse()
	if *lists > 0 {
		if err := list(*address, *lists); err != nil {
			fail(err)
		}
		return
	}
	if *address == "" {
		fail(fmt.Errorf("-address is needed"))
	}
	workers := make([]*worker, *clients)
	for index := range workers {
		client, err := connect(*address)
		if err != nil {
			fail(err)
		}
		workers[index] = &worker{
			client:  client,
			prefix:  fmt.Sprintf("%s/%d", *prefix, index),
			content: make([]byte, *bytes),
			views:   *views,
			times:   timings{},
		}
	}
	if err := workers[0].makeBase(); err != nil {
		fail(err)
	}
	if _, err := runAll(workers, *warmUp); err != nil {
		fail(err)
	}
	warmUpCalls := summary(workers, 1).Calls
	for _, worker := range workers {
		worker.times = timings{}
	}
	seconds, err := runAll(workers, *duration)
	if err != nil {
		fail(err)
	}
	answer := summary(workers, seconds)
	answer.CallsInAll = warmUpCalls + answer.Calls
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fail(err)
	}
}

func connect(address string) (snapshotsapi.SnapshotsClient, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", address)
	}
	// A path as the target would become the :authority header, which strict HTTP/2 servers refuse.
	connection, err := grpc.DialContext(ctx, "localhost", grpc.WithBlock(),
		grpc.WithInsecure(), grpc.WithContextDialer(dial))
	if err != nil {
		return nil, err
	}
	return snapshotsapi.NewSnapshotsClient(connection), nil
}

// runAll lets all workers go round until the time is over, and answers how long that really was.
func runAll(workers []*worker, duration time.Duration) (float64, error) {
	var group sync.WaitGroup
	errs := make([]error, len(workers))
	start := time.Now()
	for index, each := range workers {
		group.Add(1)
		go func(index int, each *worker) {
			defer group.Done()
			for time.Since(start) < duration && errs[index] == nil {
				errs[index] = each.cycle()
			}
		}(index, each)
	}
	group.Wait()
	seconds := time.Since(start).Seconds()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return seconds, nil
}

type worker struct {
	client  snapshotsapi.SnapshotsClient
	prefix  string
	content []byte
	views   bool
	cycles  int
	times   timings
}

// timed makes one call and keeps how long it took.
func (w *worker) timed(method string, call func(context.Context) error) error {
	start := time.Now()
	err := call(context.Background())
	w.times[method] = append(w.times[method], time.Since(start))
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

func (w *worker) makeBase() error {
	ctx := context.Background()
	if _, err := w.client.Stat(ctx, &snapshotsapi.StatSnapshotRequest{Key: base}); err == nil {
		return nil
	}
	key := w.prefix + "/base"
	if _, err := w.client.Prepare(ctx, &snapshotsapi.PrepareSnapshotRequest{Key: key}); err != nil {
		return err
	}
	_, err := w.client.Commit(ctx, &snapshotsapi.CommitSnapshotRequest{Key: key, Name: base})
	return err
}

// cycle is the life of one layer. Each call is timed; writing the layer's file is not.
func (w *worker) cycle() error {
	w.cycles++
	key := fmt.Sprintf("%s/key-%d", w.prefix, w.cycles)
	name := fmt.Sprintf("%s/name-%d", w.prefix, w.cycles)
	var mounts []*types.Mount
	steps := []func() error{
		func() error {
			return w.timed("Prepare", func(ctx context.Context) error {
				reply, err := w.client.Prepare(ctx, &snapshotsapi.PrepareSnapshotRequest{Key: key, Parent: base})
				if err == nil {
					mounts = reply.Mounts
				}
				return err
			})
		},
		func() error { return w.write(mounts) },
		func() error {
			return w.timed("Mounts", func(ctx context.Context) error {
				_, err := w.client.Mounts(ctx, &snapshotsapi.MountsRequest{Key: key})
				return err
			})
		},
		func() error {
			return w.timed("Commit", func(ctx context.Context) error {
				_, err := w.client.Commit(ctx, &snapshotsapi.CommitSnapshotRequest{Key: key, Name: name})
				return err
			})
		},
		func() error {
			return w.timed("Stat", func(ctx context.Context) error {
				_, err := w.client.Stat(ctx, &snapshotsapi.StatSnapshotRequest{Key: name})
				return err
			})
		},
	}
	if w.views {
		steps = append(steps, func() error {
			return w.timed("View", func(ctx context.Context) error {
				_, err := w.client.View(ctx, &snapshotsapi.ViewSnapshotRequest{Key: key, Parent: name})
				return err
			})
		}, func() error { return w.remove(key) })
	}
	steps = append(steps, func() error { return w.remove(name) })
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) remove(key string) error {
	return w.timed("Remove", func(ctx context.Context) error {
		_, err := w.client.Remove(ctx, &snapshotsapi.RemoveSnapshotRequest{Key: key})
		return err
	})
}

// write puts a file where the mount would show it, without the mount.
func (w *worker) write(mounts []*types.Mount) error {
	for _, mount := range mounts {
		for _, option := range mount.Options {
			if directory := strings.TrimPrefix(option, "upperdir="); directory != option {
				return os.WriteFile(filepath.Join(directory, "file"), w.content, 0o644)
			}
		}
	}
	return fmt.Errorf("Prepare answered no upper directory: %v", mounts)
}

func summary(workers []*worker, seconds float64) result {
	all := timings{}
	calls := 0
	for _, worker := range workers {
		for method, durations := range worker.times {
			all[method] = append(all[method], durations...)
			calls += len(durations)
		}
	}
	methods := map[string]report{}
	for method, durations := range all {
		methods[method] = reportOf(durations)
	}
	return result{
		Clients:   len(workers),
		Seconds:   seconds,
		Calls:     calls,
		PerSecond: float64(calls) / seconds,
		Methods:   methods,
	}
}

func reportOf(durations []time.Duration) report {
	sort.Slice(durations, func(i, j int) bool { return durations[i] < durations[j] })
	var total time.Duration
	for _, duration := range durations {
		total += duration
	}
	return report{
		Calls: len(durations),
		Mean:  micros(total) / float64(len(durations)),
		P50:   micros(durations[len(durations)/2]),
		P99:   micros(durations[len(durations)*99/100]),
	}
}

func micros(duration time.Duration) float64 {
	return float64(duration) / float64(time.Microsecond)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "load:", err)
	os.Exit(1)
}
