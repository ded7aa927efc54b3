//! Takes an order from stock and notes it, in one transaction. When the same job runs again, it changes nothing more.

use toril_sdk::{postgres, prelude::*};

#[derive(Deserialize)]
struct Order {
    sku: String,
    quantity: i32,
}

#[derive(Serialize, Deserialize)]
struct Placed {
    id: i64,
    quantity: i32,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Placed, Failure> {
    let order: Order = job.data()?;
    let shop = postgres::open("shop")?;
    let known = "select id, quantity from orders where job = $1";
    if let Some(placed) = shop.query_first(known, &[&job.id()])? {
        return Ok(placed);
    }
    // Without `commit` it is rolled back, however this function is left.
    let work = shop.begin()?;
    let take = "update stock set quantity = quantity - $2 where sku = $1 and quantity >= $2";
    if work.execute(take, &[&order.sku, &order.quantity])? == 0 {
        return Err(Failure::unrecoverable(format!(
            "too little of `{}` in stock",
            order.sku
        )));
    }
    let note = "insert into orders (job, sku, quantity) values ($1, $2, $3) returning id, quantity";
    let mut placed = work.query(note, &[&job.id(), &order.sku, &order.quantity])?;
    work.commit()?;
    placed
        .pop()
        .ok_or_else(|| Failure::new("the order was not noted"))
}
