// A job in steps: the step is kept in its data, so that a retry resumes where it failed.
package main

import (
	"context"
	"errors"
	"fmt"

	"toril"
)

const (
	initial = iota
	second
	finish
)

type state struct {
	Step int `json:"step"`
}

func process(ctx context.Context, job *toril.Job, data state) (int, error) {
	for data.Step != finish {
		switch data.Step {
		case initial:
			fmt.Println("initial step")
			data.Step = second
		case second:
			fmt.Println("second step")
			data.Step = finish
		default:
			return 0, errors.New("invalid step")
		}
		if err := job.UpdateData(data); err != nil {
			return 0, err
		}
	}
	return finish, nil
}

func main() { toril.Serve(toril.Typed(process)) }
