package main

import (
	"context"

	"toril"
)

type paint struct {
	Walls int `json:"walls"`
}

func process(ctx context.Context, job *toril.Job, data paint) (map[string]int, error) {
	if data.Walls < 1 {
		// No further attempt can help.
		return nil, toril.Unrecoverable("there are no walls to paint")
	}
	if _, err := job.Logf("painting %d walls", data.Walls); err != nil {
		return nil, err
	}
	return map[string]int{"cost": data.Walls * 100}, nil
}

func main() { toril.Serve(toril.Typed(process)) }
