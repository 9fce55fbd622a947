package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
)

type listResult struct {
	// Snapshots is how many one List answers.
	Snapshots int `json:"snapshots"`
	// Millis is how long each List took, from the call to the end of its stream; the first, which
	// warms up, included.
	Millis []float64 `json:"millis"`
}

// list calls List without filters, as containerd's garbage collector does, and prints how long
// each call took.
func list(address string, times int) error {
	client, err := connect(address)
	if err != nil {
		return err
	}
	var answer listResult
	for turn := 0; turn <= times; turn++ {
		start := time.Now()
		stream, err := client.List(context.Background(), &snapshotsapi.ListSnapshotsRequest{})
		if err != nil {
			return err
		}
		count := 0
		for {
			message, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			count += len(message.Info)
		}
		answer.Snapshots = count
		answer.Millis = append(answer.Millis, float64(time.Since(start))/float64(time.Millisecond))
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}
