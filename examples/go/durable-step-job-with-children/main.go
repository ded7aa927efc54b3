// The example step-job-with-children with durable steps: each child is a call, and the job waits for it before it goes on.
package main

import (
	"context"
	"fmt"

	"toril"
)

const finish = 3

type made struct {
	Made string `json:"made"`
}

var children = toril.NewQueue("childrenQueueName")

func parent(ctx context.Context, job *toril.Job) (any, error) {
	for n, name := range []string{"initial", "second"} {
		if _, err := toril.Step(job, name, printing(name+" step")); err != nil {
			return nil, err
		}
		child := toril.NewJob{Name: fmt.Sprint("child-", n+1), Data: map[string]string{"foo": "bar"}}
		if _, err := toril.Call[made](job, child.Name, children, child); err != nil {
			return nil, err
		}
	}
	return finish, nil
}

// printing is a step that prints a line.
func printing(line string) func() (any, error) {
	return func() (any, error) {
		fmt.Println(line)
		return nil, nil
	}
}

func child(ctx context.Context, job *toril.Job) (any, error) { return made{job.Name()}, nil }

func main() {
	toril.ServeQueue("parentQueueName", parent)
	toril.ServeQueue("childrenQueueName", child)
}
