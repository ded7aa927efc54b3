// The example step-job with durable steps: what an attempt has done, a retry does not do again.
package main

import (
	"context"
	"fmt"

	"toril"
)

const finish = 2

func process(ctx context.Context, job *toril.Job) (any, error) {
	for _, name := range []string{"initial", "second"} {
		if _, err := toril.Step(job, name, printing(name+" step")); err != nil {
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

func main() { toril.Serve(process) }
