// The example delayed-step-job with durable steps: while the job sleeps it holds no worker, and no attempt is spent.
package main

import (
	"context"
	"fmt"
	"time"

	"toril"
)

const finish = 2

func process(ctx context.Context, job *toril.Job) (any, error) {
	if err := step(job, "initial"); err != nil {
		return nil, err
	}
	if err := job.Sleep("rest", 200*time.Millisecond); err != nil {
		return nil, err
	}
	return finish, step(job, "second")
}

// step prints that it runs.
func step(job *toril.Job, name string) error {
	_, err := toril.Step(job, name, func() (any, error) {
		fmt.Println(name, "step")
		return nil, nil
	})
	return err
}

func main() { toril.Serve(process) }
