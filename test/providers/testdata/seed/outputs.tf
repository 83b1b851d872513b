output "vpc_id" {
  value = module.network.vpc_id
}

output "addresses" {
  value = { for name, service in module.service : name => service.private_ips }
}

output "bucket" {
  value = cloud_bucket.assets.domain_name
}

output "database_password" {
  value     = random_password.database.result
  sensitive = true
}
