// The example chained-flow with durable steps: a job that adds a whole flow while it runs, and waits for it.
package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"toril"
)

const finish = 3

type part struct {
	Idx int    `json:"idx"`
	Foo string `json:"foo"`
}

func parent(ctx context.Context, job *toril.Job) (any, error) {
	if err := step(job, "initial"); err != nil {
		return nil, err
	}
	if _, err := toril.Step(job, "flow", func() (toril.FlowNode, error) { return addFlow(job) }); err != nil {
		return nil, err
	}
	if err := step(job, "second"); err != nil {
		return nil, err
	}
	if waits, err := job.MoveToWaitingChildren(); err != nil {
		return nil, err
	} else if waits {
		return nil, toril.WaitingChildrenError{}
	}
	return finish, nil
}

// step prints that it runs.
func step(job *toril.Job, name string) error {
	_, err := toril.Step(job, name, func() (any, error) {
		fmt.Println(name, "step")
		return nil, nil
	})
	return err
}

// addFlow adds nothing twice if its step runs twice: the ids are the same in each attempt.
func addFlow(job *toril.Job) (toril.FlowNode, error) {
	grandchild := func(data part) toril.FlowJob {
		opts := toril.JobOptions{JobID: fmt.Sprint(job.ID(), "-", data.Idx)}
		return toril.FlowJob{Name: "grandchild-job", QueueName: "grandchildrenQueueName", Data: data, Opts: &opts}
	}
	return toril.AddFlow(toril.FlowJob{
		Name:      "child-job",
		QueueName: "childrenQueueName",
		Data:      struct{}{},
		Opts:      &toril.JobOptions{JobID: job.ID() + "-child", Parent: job.AsParent()},
		Children:  []toril.FlowJob{grandchild(part{0, "bar"}), grandchild(part{1, "baz"})},
	})
}

func child(ctx context.Context, job *toril.Job) (any, error) {
	values, err := job.ChildrenValues()
	return slices.Collect(maps.Values(values)), err
}

func grandchild(ctx context.Context, job *toril.Job) (any, error) { return job.Data(), nil }

func main() {
	toril.ServeQueue("parentQueueName", parent)
	toril.ServeQueue("childrenQueueName", child)
	toril.ServeQueue("grandchildrenQueueName", grandchild)
}
