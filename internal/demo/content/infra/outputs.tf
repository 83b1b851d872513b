output "name" {
  description = "What the shop is called."
  value       = random_pet.shop.id
}

output "public_key" {
  value = trimspace(tls_private_key.shop.public_key_openssh)
}

output "private_key" {
  value     = tls_private_key.shop.private_key_openssh
  sensitive = true
}
