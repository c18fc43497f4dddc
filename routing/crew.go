package routing

// crew is the workers of a Runner, as its scheduler counts them.
type crew struct {
	jobs chan Job
	done chan bool // a worker came free; whether its job was ordinary

	idle int // workers without a job, and not lent
	// room is how many more jobs below Urgent may be begun. It can be more or less than
	// there are idle workers; the share that it leaves is a reserve, so that what is urgent
	// finds a worker though all others wait for slow servers.
	room int
}

// reserve is which share of the workers is kept for what is urgent.
const reserve = 8

func newCrew(workers int) *crew {
	return &crew{jobs: make(chan Job), done: make(chan bool, workers), idle: workers, room: workers - workers/reserve}
}

// ordinary reports whether a job is below Urgent.
func ordinary(j *Job) bool { return j.Delivery.Priority < Urgent }

// gather counts the workers that have come free.
func (c *crew) gather() {
	for {
		select {
		case wasOrdinary := <-c.done:
			c.free(wasOrdinary)
		default:
			return
		}
	}
}

func (c *crew) free(wasOrdinary bool) {
	c.idle++
	if wasOrdinary {
		c.room++
	}
}

// take counts a job that an idle worker gets.
func (c *crew) take(j *Job) {
	c.idle--
	if ordinary(j) {
		c.room--
	}
}
